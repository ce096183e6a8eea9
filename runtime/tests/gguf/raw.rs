//! Files byte by byte, sound or not: the writer of the library refuses to write what the tests need.

/// A file as its parts.
#[derive(Clone)]
pub struct Raw {
    pub magic: [u8; 4],
    pub version: u32,
    /// Instead of the real counts.
    pub n_tensors: Option<u64>,
    pub n_keys: Option<u64>,
    pub alignment: u64,
    pub keys: Vec<Vec<u8>>,
    pub tensors: Vec<Vec<u8>>,
    pub data: Vec<u8>,
}

impl Raw {
    pub fn new() -> Raw {
        Raw {
            magic: *b"GGUF",
            version: 3,
            n_tensors: None,
            n_keys: None,
            alignment: 32,
            keys: Vec::new(),
            tensors: Vec::new(),
            data: Vec::new(),
        }
    }

    /// A key with a value's type and bytes.
    pub fn key(mut self, key: &str, kind: u32, value: &[u8]) -> Raw {
        let mut bytes = string(key);
        bytes.extend(kind.to_le_bytes());
        bytes.extend(value);
        self.keys.push(bytes);
        self
    }

    pub fn u32(self, key: &str, value: u32) -> Raw {
        self.key(key, 4, &value.to_le_bytes())
    }

    /// Bytes instead of a key.
    pub fn key_bytes(mut self, bytes: &[u8]) -> Raw {
        self.keys.push(bytes.to_vec());
        self
    }

    /// A tensor's description, without any bytes of it.
    pub fn tensor(mut self, name: &str, dims: &[u64], id: u32, offset: u64) -> Raw {
        let mut bytes = string(name);
        bytes.extend((dims.len() as u32).to_le_bytes());
        bytes.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
        bytes.extend(id.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        self.tensors.push(bytes);
        self
    }

    /// Bytes instead of a tensor's description.
    pub fn tensor_bytes(mut self, bytes: &[u8]) -> Raw {
        self.tensors.push(bytes.to_vec());
        self
    }

    /// Data of so many bytes.
    pub fn zeros(mut self, len: usize) -> Raw {
        self.data = vec![0; len];
        self
    }

    pub fn data(mut self, data: Vec<u8>) -> Raw {
        self.data = data;
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.magic.to_vec();
        bytes.extend(self.version.to_le_bytes());
        let n_tensors = self.n_tensors.unwrap_or(self.tensors.len() as u64);
        bytes.extend(n_tensors.to_le_bytes());
        let n_keys = self.n_keys.unwrap_or(self.keys.len() as u64);
        bytes.extend(n_keys.to_le_bytes());
        bytes.extend(self.keys.concat());
        bytes.extend(self.tensors.concat());
        let padded = (bytes.len() as u64).next_multiple_of(self.alignment);
        bytes.resize(padded as usize, 0);
        bytes.extend(&self.data);
        bytes
    }
}

/// A string as the format has it.
pub fn string(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

/// Random numbers that are the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }
}
