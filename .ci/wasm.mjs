// Runs a WASI program under node, as cargo's runner: `node wasm.mjs PROGRAM.wasm ARGUMENT...`.
import { readFile } from "node:fs/promises";
import { argv, env, exit } from "node:process";
import { WASI } from "node:wasi";

// What std needs of threads where there are none, as current C libraries for WASI give it; older ones lack it. No thread starts, so
// none can be joined or let go.
const NOT_SUPPORTED = 58;
const never = () => {
  throw new Error("no thread was ever started");
};
const threads = {
  pthread_attr_init: () => 0,
  pthread_attr_setstacksize: () => 0,
  pthread_attr_destroy: () => 0,
  pthread_create: () => NOT_SUPPORTED,
  pthread_join: never,
  pthread_detach: never,
};

const wasi = new WASI({ version: "preview1", args: argv.slice(2), env, preopens: { "/": "/" } });
const module = await WebAssembly.compile(await readFile(argv[2]));
const instance = await WebAssembly.instantiate(module, { ...wasi.getImportObject(), env: threads });
exit(wasi.start(instance));
