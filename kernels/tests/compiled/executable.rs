//! The functions of this executable: their names and bytes, from its symbol table.

use std::ops::Range;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};

/// The test's own executable.
pub struct Executable {
    bytes: Vec<u8>,
    functions: Vec<Function>,
}

/// One function.
struct Function {
    /// The mangled name.
    name: String,
    /// Address of its first byte where nothing is relocated.
    address: u64,
    /// Where its bytes lie in the file.
    range: Range<usize>,
}

/// The bytes of a function, and their first address.
pub struct Code<'a> {
    pub address: u64,
    pub bytes: &'a [u8],
}

impl Executable {
    /// Reads the executable that is running.
    pub fn own() -> Executable {
        let path = std::env::current_exe().expect("this executable has a path");
        let bytes = std::fs::read(path).expect("this executable can be read");
        let file = object::File::parse(&*bytes).expect("this executable is an ELF file");
        let functions = file
            .symbols()
            .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0)
            .filter_map(|symbol| {
                let section = file.section_by_index(symbol.section_index()?).ok()?;
                let (in_file, _) = section.file_range()?;
                let start = (in_file + (symbol.address() - section.address())) as usize;
                Some(Function {
                    name: symbol.name().ok()?.to_owned(),
                    address: symbol.address(),
                    range: start..start + symbol.size() as usize,
                })
            })
            .collect();
        Executable { bytes, functions }
    }

    /// The code of the function called `name` in the source, `None` if it is not in the symbol table.
    ///
    /// Every mangling of Rust writes a name as its length and its letters, which no other name in this program contains.
    pub fn code(&self, name: &str) -> Option<Code<'_>> {
        let mangled = format!("{}{name}", name.len());
        let function = self.functions.iter().find(|f| f.name.contains(&mangled))?;
        Some(Code {
            address: function.address,
            bytes: &self.bytes[function.range.clone()],
        })
    }
}
