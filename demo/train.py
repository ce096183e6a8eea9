#!/usr/bin/env python3
"""Trains the bundled demo model: a small BitNet b1.58 language model, from one text file.

The model has the architecture and the file format of microsoft/bitnet-b1.58-2B-4T, only smaller, so that whatever reads
that model reads this one. Training simulates inference exactly: every linear layer multiplies int8 activations with
ternary weights and scales the int32 sums, from the first step on. Only gradients see real numbers; they pass the two
roundings as if those were not there (straight-through estimators). So nothing is lost when the weights are packed.

One run does all of it: the tokenizer, the training, the export, and the numbers in expected.json, which are computed
from the exported files by Hugging Face transformers and checked against this file's own forward pass.

    python train.py --text tinyshakespeare.txt --out model

It needs torch, transformers, accelerate, tokenizers and safetensors. See README.md for the results.
"""

import argparse
import hashlib
import json
import math
import platform
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn

END_OF_TEXT = "<|endoftext|>"

# The typical size, at the start of training, of an element of an embedding and of what a layer adds to it. With the
# customary 1 for the sub-norms, what the layers add would drown the embedding: 200 steps later the loss is 0.5 worse.
INITIAL_SIZE = 0.05

LINEARS = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)


# --- The arithmetic of BitNet b1.58 -----------------------------------------------------------------------------------


def quantize_activations(x):
    """Rounds each row of `x` [tokens, features] to int8. Returns the int8 rows and their scales s, with x ~ q / s.

    The scale is rounded to float32 twice, as reciprocal and as product, because Hugging Face does it so.
    """
    scale = x.abs().amax(dim=-1, keepdim=True).clamp(min=1e-5).reciprocal() * 127.0
    return (x * scale).round().clamp(-128, 127).to(torch.int8), scale


def quantize_weights(weight):
    """Rounds a matrix to {-1, 0, 1} (int8) and returns the one scale it is multiplied with: its mean magnitude.

    The scale is rounded to bfloat16 here, because that is how it will be stored.
    """
    mean = weight.abs().mean().clamp(min=1e-5)
    trits = (weight / mean).round().clamp(-1, 1).to(torch.int8)
    return trits, mean.bfloat16().float()


class TernaryMatmul(torch.autograd.Function):
    """y = (int8 x) (ternary W)^T, exact in int32, then scaled; the gradients pretend that nothing was rounded."""

    @staticmethod
    def forward(ctx, x, trits, row_scale, weight):
        """x [tokens, in], trits int8 [out, in], row_scale [out]; `weight` [out, in] is there to receive the gradient."""
        q, scale = quantize_activations(x)
        ctx.save_for_backward(q, scale, trits, row_scale)
        return torch._int_mm(q, trits.T).float() / scale * row_scale

    @staticmethod
    def backward(ctx, grad):
        q, scale, trits, row_scale = ctx.saved_tensors
        grad_x = (grad * row_scale) @ trits.float()
        grad_weight = grad.T @ (q.float() / scale)
        return grad_x, None, None, grad_weight


class TernaryLinear(nn.Module):
    """A matrix that is trained in float32 and only ever used rounded to {-1, 0, 1} times one scale."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * inputs**-0.5)
        self.exported = None  # (trits, scale) read from a model file; they then stand for the weight.

    def quantized(self):
        return self.exported or quantize_weights(self.weight.detach())


def ternary_linear(x, *linears):
    """Applies several TernaryLinears to the same `x` in one product, so that `x` is quantized once. Returns a tuple."""
    pairs = [linear.quantized() for linear in linears]
    trits = torch.cat([trits for trits, _ in pairs])
    row_scale = torch.cat([scale.expand(len(trits)) for trits, scale in pairs])
    weight = torch.cat([linear.weight for linear in linears])
    y = TernaryMatmul.apply(x.flatten(0, -2), trits, row_scale, weight)
    return y.view(*x.shape[:-1], -1).split([len(trits) for trits, _ in pairs], dim=-1)


# --- The model; attribute names are the tensor names of the file ------------------------------------------------------


class RMSNorm(nn.Module):
    def __init__(self, size, eps, initial=1.0):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.full((size,), initial)), eps

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


def rotate(x, cos, sin):
    """Rotary position embedding, the half-split (NeoX) layout. x [batch, heads, positions, head_dim]."""
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-b, a), dim=-1) * sin


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.kv_heads = c["num_attention_heads"], c["num_key_value_heads"]
        width = c["hidden_size"]
        self.head_dim = width // self.heads
        self.q_proj = TernaryLinear(width, width)
        self.k_proj = TernaryLinear(width, self.kv_heads * self.head_dim)
        self.v_proj = TernaryLinear(width, self.kv_heads * self.head_dim)
        self.o_proj = TernaryLinear(width, width)
        self.attn_sub_norm = RMSNorm(width, c["rms_norm_eps"], INITIAL_SIZE)

    def forward(self, x, cos, sin):
        q, k, v = (
            y.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for y in ternary_linear(x, self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        k, v = (y.repeat_interleave(self.heads // self.kv_heads, dim=1) for y in (k, v))
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return ternary_linear(self.attn_sub_norm(o.transpose(1, 2).flatten(-2)), self.o_proj)[0]


class MLP(nn.Module):
    def __init__(self, c):
        super().__init__()
        width, inner = c["hidden_size"], c["intermediate_size"]
        self.gate_proj, self.up_proj = TernaryLinear(width, inner), TernaryLinear(width, inner)
        self.down_proj = TernaryLinear(inner, width)
        self.ffn_sub_norm = RMSNorm(inner, c["rms_norm_eps"], INITIAL_SIZE)

    def forward(self, x):
        gate, up = ternary_linear(x, self.gate_proj, self.up_proj)
        return ternary_linear(self.ffn_sub_norm(F.relu(gate).square() * up), self.down_proj)[0]


class Layer(nn.Module):
    def __init__(self, c, dropout):
        super().__init__()
        self.input_layernorm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        self.mlp = MLP(c)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, cos, sin):
        x = x + self.dropout(self.self_attn(self.input_layernorm(x), cos, sin))
        return x + self.dropout(self.mlp(self.post_attention_layernorm(x)))


class BitNet(nn.Module):
    """Token ids [batch, positions] to logits [batch, positions, vocabulary]."""

    def __init__(self, c, dropout=0.0):
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        nn.init.normal_(self.embed_tokens.weight, std=INITIAL_SIZE)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Layer(c, dropout) for _ in range(c["num_hidden_layers"]))
        self.norm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        head_dim = c["hidden_size"] // c["num_attention_heads"]
        frequencies = 1.0 / c["rope_theta"] ** (torch.arange(0, head_dim, 2).float() / head_dim)
        angles = torch.arange(c["max_position_embeddings"]).float()[:, None] * frequencies
        angles = torch.cat((angles, angles), dim=-1)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, ids):
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        x = self.dropout(self.embed_tokens(ids))
        for layer in self.layers:
            x = layer(x, cos, sin)
        return F.linear(self.norm(x), self.embed_tokens.weight)


# --- Text, tokens and loss --------------------------------------------------------------------------------------------


def train_tokenizer(text, vocabulary, context, out):
    """A byte-level BPE tokenizer that has seen `text` only; written to `out`. It puts no special token before a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    tokenizer.save(str(out / "tokenizer.json"))
    write_json(
        out / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": END_OF_TEXT,
            "eos_token": END_OF_TEXT,
            "model_input_names": ["input_ids", "attention_mask"],
            "model_max_length": context,
            "clean_up_tokenization_spaces": False,
        },
    )
    return tokenizer


def negative_log_likelihood(logits, ids, context, batch=8):
    """Scores `ids` (a list) and returns (total NLL in nats, number of scored tokens). `logits` maps ids to logits.

    The rule: consecutive windows of `context` tokens that do not overlap; in each, every token but the first is scored,
    given those before it in the window. A last, shorter window counts if it has at least two tokens.
    """
    windows = [ids[i : i + context] for i in range(0, len(ids), context)]
    whole = [w for w in windows if len(w) == context]
    groups = [whole[i : i + batch] for i in range(0, len(whole), batch)] + [[w] for w in windows[len(whole) :] if len(w) > 1]
    total, scored = 0.0, 0
    with torch.no_grad():
        for group in groups:
            window = torch.tensor(group)
            loss = F.cross_entropy(logits(window)[:, :-1].flatten(0, 1).double(), window[:, 1:].flatten(), reduction="sum")
            total, scored = total + loss.item(), scored + window[:, 1:].numel()
    return total, scored


# --- Training ---------------------------------------------------------------------------------------------------------


def learning_rate(step, a):
    """Linear warm-up, then a cosine down to a hundredth."""
    if step < a.warmup:
        return a.lr * (step + 1) / a.warmup
    progress = (step - a.warmup) / max(1, a.steps - a.warmup)
    return a.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def halves(tokenizer):
    """The two tokens that each token was merged from [vocabulary, 2]; a token that was not merged has itself and -1."""
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    table = torch.stack((torch.arange(tokenizer.get_vocab_size()), torch.full((tokenizer.get_vocab_size(),), -1)), dim=1)
    for left, right in merges:
        table[tokenizer.token_to_id(left + right)] = torch.tensor([tokenizer.token_to_id(left), tokenizer.token_to_id(right)])
    return table


def split_some(ids, table, share, generator):
    """Replaces a random `share` of the tokens by the two they were merged from. Returns the tokens and what to predict.

    The text is short and would be learnt by heart; split tokens make it look different each time (BPE dropout). They are
    not to be predicted (-100), so that what is predicted keeps the frequencies of a text that is not split.
    """
    chosen = torch.rand(len(ids), generator=generator) < share
    pieces = torch.where(chosen[:, None], table[ids], torch.stack((ids, torch.full_like(ids, -1)), dim=1))
    targets = torch.where(chosen, -100, ids)[:, None].expand(-1, 2)
    return pieces[pieces >= 0], targets[pieces >= 0]


def batches(ids, tokenizer, a):
    """Returns a function that draws random windows of `ids`: tokens and what to predict, both [batch, context + 1].

    The first window of each batch is END_OF_TEXT (id 0) and what follows an empty line, so that the model can also begin
    with no prompt at all.
    """
    data, table, generator = torch.tensor(ids), halves(tokenizer), torch.Generator().manual_seed(a.seed)
    newline = tokenizer.token_to_id("Ċ")  # how byte-level BPE writes the byte 10
    beginnings = 2 + ((data[:-2] == newline) & (data[1:-1] == newline)).nonzero().flatten()
    beginnings = beginnings[beginnings < len(data) - a.context]

    def draw():
        starts = torch.randint(len(data) - a.context, (a.batch,), generator=generator)
        rows = [data[start : start + a.context + 1] for start in starts.tolist()]
        begin = beginnings[torch.randint(len(beginnings), (1,), generator=generator)].item()
        rows[0] = torch.cat((torch.zeros(1, dtype=data.dtype), data[begin : begin + a.context]))
        pairs = [split_some(row, table, a.split, generator) for row in rows]
        return tuple(torch.stack([row[: a.context + 1] for row in column]) for column in zip(*pairs))

    return draw


def train(model, train_ids, validation_ids, tokenizer, a):
    """Trains `model`, keeps the weights with the best validation loss in `a.checkpoint`, and ends with those."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": a.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=a.lr, betas=(0.9, 0.95), fused=True)
    if a.compile:
        torch._inductor.config.fallback_random = True  # The compiler's own random numbers are slow on a CPU.
    forward = torch.compile(model) if a.compile else model
    draw = batches(train_ids, tokenizer, a)
    best, began, running = math.inf, time.time(), 0.0
    for step in range(a.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, a)
        ids, targets = draw()
        loss = F.cross_entropy(forward(ids[:, :-1]).flatten(0, 1), targets[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        running += (loss.item() - running) / min(step + 1, 50)
        if (step + 1) % a.evaluate_every == 0 or step + 1 == a.steps:
            model.eval()
            total, scored = negative_log_likelihood(model, validation_ids, a.context)
            model.train()
            mark = ""
            if total / scored < best:
                best, mark = total / scored, " best"
                torch.save(model.state_dict(), a.checkpoint)
            seconds = time.time() - began
            print(f"step {step + 1} train {running:.4f} validation {total / scored:.4f}{mark} {seconds:.0f} s", flush=True)
        elif step % 20 == 0:
            print(f"step {step + 1} train {running:.4f} {time.time() - began:.0f} s", flush=True)
    model.load_state_dict(torch.load(a.checkpoint))


# --- The model files --------------------------------------------------------------------------------------------------


def configuration(a):
    """config.json, with the keys of the published packed model."""
    return {
        "architectures": ["BitNetForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "hidden_act": "relu2",
        "hidden_size": a.width,
        "initializer_range": 0.02,
        "intermediate_size": a.ffn,
        "max_position_embeddings": a.context,
        "model_type": "bitnet",
        "num_attention_heads": a.heads,
        "num_hidden_layers": a.layers,
        "num_key_value_heads": a.kv_heads,
        "quantization_config": {
            "linear_class": "autobitlinear",
            "quant_method": "bitnet",
            "quantization_mode": "offline",
        },
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": a.vocabulary,
    }


def pack(trits):
    """[out, in] in {-1, 0, 1} to uint8 [out / 4, in]: the rows in four blocks, one block to a pair of bits, stored + 1."""
    blocks = (trits + 1).to(torch.uint8).chunk(4)
    return blocks[0] | blocks[1] << 2 | blocks[2] << 4 | blocks[3] << 6


def unpack(packed):
    return torch.cat([(packed >> 2 * i & 3).to(torch.int8) - 1 for i in range(4)])


def export(model, config, out):
    """Writes config.json, generation_config.json and model.safetensors, which holds packed trits and bfloat16."""
    tensors = {}
    for name, value in model.state_dict().items():
        module = name.removesuffix(".weight")
        if module.endswith(LINEARS):
            trits, scale = quantize_weights(value)
            tensors[f"model.{name}"] = pack(trits)
            tensors[f"model.{module}.weight_scale"] = scale.reshape(1).bfloat16()
        else:
            tensors[f"model.{name}"] = value.bfloat16()
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
    write_json(out / "config.json", config)
    sampling = {"do_sample": True, "temperature": 0.8, "top_p": 0.95}
    write_json(out / "generation_config.json", {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0} | sampling)


def load_exported(out):
    """The model in `out` with this file's forward pass: unpacked trits, and the bfloat16 tensors as float32."""
    model = BitNet(json.loads((out / "config.json").read_text())).eval()
    tensors = {name.removeprefix("model."): t for name, t in load_file(out / "model.safetensors").items()}
    for name, module in model.named_modules():
        if isinstance(module, TernaryLinear):
            module.exported = unpack(tensors.pop(f"{name}.weight")), tensors.pop(f"{name}.weight_scale").float()
    missing, unexpected = model.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=False)
    assert not unexpected and all(name.removesuffix(".weight").endswith(LINEARS) for name in missing)
    return model


def load_in_transformers(out):
    """The model in `out` as Hugging Face transformers computes it, in float32."""
    from transformers import AutoModelForCausalLM

    torch.compiler.set_stance("force_eager")  # transformers compiles a quantizer; its eager form is the reference.
    model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, attn_implementation="eager")
    # `dtype` leaves the bfloat16 tensors of a quantized model as they are, and `model.float()` is refused for one.
    return nn.Module.to(model, torch.float32).eval()


# --- What the exported model is expected to do ------------------------------------------------------------------------


def measure(model, own, tokenizer, text, context):
    """Loss and perplexity of `text` by transformers, which must agree with our own forward pass."""
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    total, scored = negative_log_likelihood(lambda window: model(window).logits, ids, context)
    own_total, _ = negative_log_likelihood(own, ids, context)
    assert abs(own_total / total - 1) < 1e-3, f"transformers finds {total} nats, this file's own forward pass {own_total}"
    nll = total / scored
    return {
        "characters": len(text),
        "tokens": len(ids),
        "scored_tokens": scored,
        "mean_nll": nll,
        "perplexity": math.exp(nll),
        "nats_per_character": nll * len(ids) / len(text),
        "mean_nll_of_own_forward_pass": own_total / scored,
    }


def greedy(model, tokenizer, prompt, count):
    """The `count` most likely tokens after `prompt`, the logits of the first, and the smallest lead of any over its rival."""
    ids = tokenizer.encode(prompt).ids
    tokens, lead, first = [], math.inf, None
    with torch.no_grad():
        for _ in range(count):
            logits = model(torch.tensor([ids + tokens])).logits[0, -1]
            first = logits if first is None else first
            top = logits.topk(2)
            lead = min(lead, (top.values[0] - top.values[1]).item())
            tokens.append(top.indices[0].item())
    best = first.topk(8)
    return {
        "prompt": prompt,
        "prompt_ids": ids,
        "next_token_logits": [[i, round(v, 5)] for i, v in zip(best.indices.tolist(), best.values.tolist())],
        "tokens": tokens,
        "smallest_lead": round(lead, 5),
        "text": tokenizer.decode(tokens),
    }


def describe(out, tokenizer, train_text, validation_text, page, a):
    """Everything in expected.json, from the files in `out`."""
    import transformers

    model, own = load_in_transformers(out), load_exported(out)
    page_text = page.read_text(encoding="utf-8")
    raw = Path(a.text).read_bytes()
    return {
        "text": {
            "sha256": hashlib.sha256(raw).hexdigest(),
            "bytes": len(raw),
            "training_characters": len(train_text),
            "validation_characters": len(validation_text),
        },
        "recipe": {k: v for k, v in vars(a).items() if not isinstance(v, (str, Path, bool))},
        "parameters": sum(p.numel() for p in own.parameters()),
        "windows": "consecutive, not overlapping, of `context` tokens, encoded without special tokens; the first token of "
        "each is not scored; the last, shorter window counts if it has two tokens or more; "
        "perplexity = exp(total NLL / scored tokens)",
        "context": a.context,
        "validation": measure(model, own, tokenizer, validation_text, a.context),
        "page": {"file": page.name, "sha256": hashlib.sha256(page.read_bytes()).hexdigest()}
        | measure(model, own, tokenizer, page_text, a.context),
        "greedy": greedy(model, tokenizer, a.prompt, 32),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def arguments():
    here = Path(__file__).resolve().parent
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("--text", required=True, help="the text; its first 90 %% trains, its last 10 %% validates")
    p.add_argument("--out", type=Path, default=here / "model", help="folder for the model files")
    p.add_argument("--page", type=Path, default=here / "page.txt", help="a text whose perplexity goes into expected.json")
    p.add_argument("--prompt", default="CORIOLANUS:", help="its most likely continuation goes into expected.json too")
    p.add_argument("--expected", type=Path, default=here / "expected.json", help="file for the numbers")
    p.add_argument("--checkpoint", type=Path, default=Path("checkpoint.pt"), help="file for the best float32 weights so far")
    p.add_argument("--export-only", action="store_true", help="do not train; export and evaluate the checkpoint")
    p.add_argument("--compile", action="store_true", help="compile the model (a quarter faster here; needs a C++ compiler)")
    p.add_argument("--threads", type=int, default=1, help="threads that torch may use")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--steps", type=int, default=3000)
    p.add_argument("--batch", type=int, default=8, help="windows a step")
    p.add_argument("--context", type=int, default=256, help="tokens a window")
    p.add_argument("--vocabulary", type=int, default=1024)
    p.add_argument("--width", type=int, default=256)
    p.add_argument("--layers", type=int, default=6)
    p.add_argument("--heads", type=int, default=4)
    p.add_argument("--kv-heads", type=int, default=2)
    p.add_argument("--ffn", type=int, default=704)
    p.add_argument("--lr", type=float, default=3e-3)
    p.add_argument("--warmup", type=int, default=100, help="steps")
    p.add_argument("--weight-decay", type=float, default=0.1)
    p.add_argument("--dropout", type=float, default=0.2)
    p.add_argument("--split", type=float, default=0.15, help="share of the training tokens that are split in two")
    p.add_argument("--evaluate-every", type=int, default=200, help="steps")
    return p.parse_args()


def main():
    a = arguments()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    a.out.mkdir(parents=True, exist_ok=True)
    text = Path(a.text).read_text(encoding="utf-8")
    split = int(len(text) * 0.9)
    train_text, validation_text = text[:split], text[split:]
    config = configuration(a)
    tokenizer = train_tokenizer(train_text, a.vocabulary, a.context, a.out)
    model = BitNet(config, a.dropout)
    if a.export_only:
        model.load_state_dict(torch.load(a.checkpoint))
    else:
        train(model, tokenizer.encode(train_text).ids, tokenizer.encode(validation_text).ids, tokenizer, a)
    export(model, config, a.out)
    expected = describe(a.out, tokenizer, train_text, validation_text, a.page, a)
    write_json(a.expected, expected)
    print(json.dumps(expected, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
