//! Which CPU this is and which instruction sets the kernels may use on it.
//!
//! A tuned profile is only worth something on the CPU it was measured on, so identity comes from
//! the hardware's own numbers (CPUID on x86-64, MIDR on ARM) and not from the brand string, which
//! hypervisors change. What an instruction set requires is written once, with the vocabularies of
//! the generator, which emits the check that this module calls.

use std::fmt;
use std::fs;
use std::str::FromStr;
use std::thread;

/// An instruction set that kernels are generated for, in the order of the `--max-isa` list.
///
/// It is a list and not a ladder: a CPU may have [`Isa::Avx512vnni`] without [`Isa::AvxVnni`], so a [`Cpu`] holds a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust; every CPU.
    Scalar,
    /// 128-bit byte shuffles and multiply-adds (x86-64).
    Ssse3,
    /// 256-bit integer vectors (x86-64).
    Avx2,
    /// 256-bit int8 dot products (x86-64).
    AvxVnni,
    /// 512-bit byte and word vectors (x86-64).
    Avx512bw,
    /// 512-bit int8 dot products (x86-64).
    Avx512vnni,
    /// 512-bit byte permutes, beside the dot products (x86-64).
    Avx512vbmi,
    /// 128-bit vectors (ARM).
    Neon,
    /// 128-bit int8 dot products (ARM).
    Dotprod,
    /// 128-bit int8 matrix products (ARM).
    I8mm,
    /// 128-bit vectors (WebAssembly).
    Simd128,
    /// 128-bit int8 dot products (WebAssembly).
    Relaxed,
}

impl Isa {
    /// Every instruction set, of every architecture, in the order of the `--max-isa` list.
    pub const ALL: &[Isa] = &[
        Isa::Scalar,
        Isa::Ssse3,
        Isa::Avx2,
        Isa::AvxVnni,
        Isa::Avx512bw,
        Isa::Avx512vnni,
        Isa::Avx512vbmi,
        Isa::Neon,
        Isa::Dotprod,
        Isa::I8mm,
        Isa::Simd128,
        Isa::Relaxed,
    ];

    /// The ones that a CPU of this architecture may have.
    pub const HERE: &[Isa] = if cfg!(target_arch = "x86_64") {
        Isa::ALL.split_at(7).0
    } else if cfg!(target_arch = "aarch64") {
        &[Isa::Scalar, Isa::Neon, Isa::Dotprod, Isa::I8mm]
    } else if cfg!(target_arch = "wasm32") {
        &[Isa::Scalar, Isa::Simd128, Isa::Relaxed]
    } else {
        &[Isa::Scalar]
    };

    /// Its name in kernel ids, configs and options.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Ssse3 => "ssse3",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avxvnni",
            Isa::Avx512bw => "avx512bw",
            Isa::Avx512vnni => "avx512vnni",
            Isa::Avx512vbmi => "avx512vbmi",
            Isa::Neon => "neon",
            Isa::Dotprod => "dotprod",
            Isa::I8mm => "i8mm",
            Isa::Simd128 => "simd128",
            Isa::Relaxed => "relaxed",
        }
    }

    /// The instruction set of that name, of any architecture.
    pub fn from_name(name: &str) -> Option<Isa> {
        Isa::ALL.iter().copied().find(|isa| isa.name() == name)
    }

    /// Whether this CPU and its operating system support it.
    fn detected(self) -> bool {
        // The generator emits `isa_detected` from the feature lists of its vocabularies, the only
        // place where they are written.
        self == Isa::Scalar || crate::generated::isa_detected(self)
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no instruction set of this architecture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` is no instruction set of {}; expected one of {}",
    std::env::consts::ARCH,
    names(Isa::HERE)
)]
pub struct ParseIsaError {
    /// What was found.
    pub name: String,
}

impl FromStr for Isa {
    type Err = ParseIsaError;

    /// Parses the value of `--max-isa`: an instruction set of this architecture.
    fn from_str(name: &str) -> Result<Isa, ParseIsaError> {
        Isa::from_name(name)
            .filter(|isa| Isa::HERE.contains(isa))
            .ok_or_else(|| ParseIsaError {
                name: name.to_owned(),
            })
    }
}

fn names(isas: &[Isa]) -> String {
    isas.iter()
        .map(|isa| isa.name())
        .collect::<Vec<_>>()
        .join(", ")
}

/// A set of instruction sets.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct IsaSet(u16);

impl IsaSet {
    /// Whether `isa` is in the set.
    pub fn contains(self, isa: Isa) -> bool {
        self.0 & Self::bit(isa) != 0
    }

    /// The members, in the order of the `--max-isa` list.
    pub fn iter(self) -> impl Iterator<Item = Isa> {
        Isa::ALL
            .iter()
            .copied()
            .filter(move |&isa| self.contains(isa))
    }

    /// A set of the caller's choosing. Private: the set of a [`Cpu`] is what proves that its kernels may run.
    fn of(isas: impl Iterator<Item = Isa>) -> IsaSet {
        IsaSet(isas.fold(0, |set, isa| set | Self::bit(isa)))
    }

    fn bit(isa: Isa) -> u16 {
        1 << isa as u16
    }
}

impl fmt::Debug for IsaSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Sizes of the data caches in bytes; 0 where unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caches {
    /// First-level data cache of a core.
    pub l1d: usize,
    /// Second-level cache that a core sees.
    pub l2: usize,
    /// Third-level cache that a core sees, shared with others.
    pub l3: usize,
}

impl Caches {
    /// Notes a data or unified cache of `bytes` on `level`, unless that level is known already.
    fn note(&mut self, level: u32, bytes: usize) {
        let known = match level {
            1 => &mut self.l1d,
            2 => &mut self.l2,
            3 => &mut self.l3,
            _ => return,
        };
        if *known == 0 {
            *known = bytes;
        }
    }
}

/// The CPU that this process runs on. On a machine with several kinds of cores, the one at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Who made it: the CPUID vendor string (`GenuineIntel`), or the MIDR implementer (`arm`).
    pub vendor: String,
    /// What the maker, or a hypervisor, calls it. For people only.
    pub brand: String,
    /// Display family on x86-64, MIDR architecture on ARM.
    pub family: u32,
    /// Display model on x86-64, MIDR part number on ARM.
    pub model: u32,
    /// Stepping on x86-64, variant and revision (`variant << 4 | revision`) on ARM.
    pub stepping: u32,
    /// Its data caches.
    pub caches: Caches,
    /// Hardware threads that this process may use: affinity and cgroup quota count.
    pub cores: usize,
    /// The instruction sets that kernels may use.
    isas: IsaSet,
}

impl Cpu {
    /// Asks the hardware and the operating system.
    pub fn detect() -> Cpu {
        let mut cpu = Cpu {
            vendor: String::new(),
            brand: String::new(),
            family: 0,
            model: 0,
            stepping: 0,
            caches: Caches::default(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            isas: IsaSet::of(Isa::HERE.iter().copied().filter(|isa| isa.detected())),
        };
        identify(&mut cpu);
        // Fills what CPUID did not tell, which on ARM is everything.
        sysfs_caches(&mut cpu.caches);
        if cpu.vendor.is_empty() {
            cpu.vendor = std::env::consts::ARCH.to_owned();
        }
        cpu
    }

    /// This CPU without the instruction sets that come after `max` in the `--max-isa` list.
    pub fn capped(mut self, max: Isa) -> Cpu {
        self.isas = IsaSet::of(self.isas.iter().filter(|&isa| isa <= max));
        self
    }

    /// This CPU without `isa`, for one that does not do what it announces. Plain Rust stays: something must run.
    ///
    /// The others stay too, those that have more of the same instructions among them: each is proven by itself.
    pub fn without(mut self, isa: Isa) -> Cpu {
        let stays = |&other: &Isa| other == Isa::Scalar || other != isa;
        // Only taking away is safe: the set proves that the CPU has its members.
        self.isas = IsaSet::of(self.isas.iter().filter(stays));
        self
    }

    /// Whether kernels may use `isa`.
    pub fn has(&self, isa: Isa) -> bool {
        self.isas.contains(isa)
    }

    /// The instruction sets that kernels may use, in the order of the `--max-isa` list.
    pub fn isas(&self) -> Vec<Isa> {
        self.isas.iter().collect()
    }

    /// Identity for file names, of `[a-z0-9-]` only: `genuineintel-6-207-2`.
    ///
    /// Caps, cores and cache sizes are not part of it: virtual machines of one CPU differ in them.
    pub fn key(&self) -> String {
        let vendor: String = self
            .vendor
            .to_ascii_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        format!("{vendor}-{}-{}-{}", self.family, self.model, self.stepping)
    }
}

/// Fills in identity, brand and caches from CPUID.
#[cfg(target_arch = "x86_64")]
fn identify(cpu: &mut Cpu) {
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    let basic = __cpuid(0);
    let extended = __cpuid(0x8000_0000);
    let text = |words: &[u32]| {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let text = String::from_utf8_lossy(&bytes).replace('\0', "");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    cpu.vendor = text(&[basic.ebx, basic.edx, basic.ecx]);
    if basic.eax >= 1 {
        (cpu.family, cpu.model, cpu.stepping) = signature(__cpuid(1).eax);
    }
    if extended.eax >= 0x8000_0004 {
        let leaves = [0x8000_0002, 0x8000_0003, 0x8000_0004].map(__cpuid);
        cpu.brand = text(&leaves.map(|r| [r.eax, r.ebx, r.ecx, r.edx]).concat());
    }
    // AMD announces its copy of the cache leaf by the topology extensions bit.
    let has_amd_leaf = extended.eax >= 0x8000_001D && __cpuid(0x8000_0001).ecx >> 22 & 1 == 1;
    let leaf = match (has_amd_leaf, basic.eax) {
        (true, _) => 0x8000_001D,
        (false, 4..) => 4,
        (false, _) => return,
    };
    // The list ends with a cache of type 0; the bound is for hypervisors that forget to end it.
    let entries = (0..16).map(|index| __cpuid_count(leaf, index));
    for entry in entries.take_while(|entry| entry.eax & 0x1F != 0) {
        const INSTRUCTIONS: u32 = 2;
        if entry.eax & 0x1F != INSTRUCTIONS {
            let bytes = cache_bytes(entry.ebx, entry.ecx);
            cpu.caches
                .note(entry.eax >> 5 & 7, usize::try_from(bytes).unwrap_or(0));
        }
    }
}

/// Display family, display model and stepping from EAX of CPUID leaf 1.
#[cfg(target_arch = "x86_64")]
fn signature(eax: u32) -> (u32, u32, u32) {
    let base_family = eax >> 8 & 0xF;
    let family = if base_family == 0xF {
        base_family + (eax >> 20 & 0xFF)
    } else {
        base_family
    };
    let base_model = eax >> 4 & 0xF;
    let model = if matches!(base_family, 6 | 0xF) {
        base_model | (eax >> 16 & 0xF) << 4
    } else {
        base_model
    };
    (family, model, eax & 0xF)
}

/// Ways x partitions x line size x sets of a CPUID cache leaf.
#[cfg(target_arch = "x86_64")]
fn cache_bytes(ebx: u32, ecx: u32) -> u64 {
    let ways = u64::from(ebx >> 22) + 1;
    let partitions = u64::from(ebx >> 12 & 0x3FF) + 1;
    let line = u64::from(ebx & 0xFFF) + 1;
    let sets = u64::from(ecx) + 1;
    // At most 10 + 10 + 12 + 32 bits, so only the largest value of all fields would not fit.
    (ways * partitions * line).saturating_mul(sets)
}

/// Fills in the identity from the main ID register, which Linux shows in sysfs.
#[cfg(target_arch = "aarch64")]
fn identify(cpu: &mut Cpu) {
    let path = "/sys/devices/system/cpu/cpu0/regs/identification/midr_el1";
    let text = fs::read_to_string(path).unwrap_or_default();
    let digits = text.trim().trim_start_matches("0x");
    if let Ok(midr) = u64::from_str_radix(digits, 16) {
        midr_identity(midr, cpu);
    } else if cfg!(target_vendor = "apple") {
        cpu.vendor = "apple".to_owned();
    }
}

/// Takes the fields of MIDR_EL1 apart.
#[cfg(any(target_arch = "aarch64", test))]
fn midr_identity(midr: u64, cpu: &mut Cpu) {
    let field = |shift: u32, bits: u32| (midr >> shift & ((1 << bits) - 1)) as u32;
    cpu.vendor = match field(24, 8) {
        0x41 => "arm".to_owned(),
        0x46 => "fujitsu".to_owned(),
        0x48 => "hisilicon".to_owned(),
        0x4E => "nvidia".to_owned(),
        0x51 => "qualcomm".to_owned(),
        0x61 => "apple".to_owned(),
        0x6D => "microsoft".to_owned(),
        0xC0 => "ampere".to_owned(),
        other => format!("arm{other:02x}"),
    };
    cpu.family = field(16, 4);
    cpu.model = field(4, 12);
    cpu.stepping = field(20, 4) << 4 | field(0, 4);
}

/// Nothing tells: the architecture's name must do.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn identify(_: &mut Cpu) {}

/// Fills in the caches that are still unknown from what Linux shows of core 0.
fn sysfs_caches(caches: &mut Caches) {
    for index in 0..16 {
        let read = |file: &str| {
            let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{file}");
            fs::read_to_string(path).ok()
        };
        let Some(kind) = read("type") else { break };
        let level = read("level").and_then(|level| level.trim().parse().ok());
        let bytes = read("size").and_then(|size| sysfs_size(&size));
        if let (false, Some(level), Some(bytes)) = (kind.trim() == "Instruction", level, bytes) {
            caches.note(level, bytes);
        }
    }
}

/// Reads `48K`, `32M` or plain bytes.
fn sysfs_size(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu_with(isas: &[Isa]) -> Cpu {
        Cpu {
            isas: IsaSet::of(isas.iter().copied()),
            ..Cpu::detect()
        }
    }

    #[test]
    fn names_parse_and_print_both_ways() {
        for &isa in Isa::ALL {
            assert_eq!(Isa::from_name(isa.name()), Some(isa));
            assert_eq!(isa.to_string(), isa.name());
            assert_eq!(isa.name().parse::<Isa>().is_ok(), Isa::HERE.contains(&isa));
        }
        assert!(Isa::ALL.is_sorted(), "the list is in the order of the enum");
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_valid_ones() {
        let error = "avx1024"
            .parse::<Isa>()
            .expect_err("no such instruction set")
            .to_string();
        assert!(error.contains("`avx1024`"), "{error}");
        assert!(
            Isa::HERE.iter().all(|isa| error.contains(isa.name())),
            "{error}"
        );
    }

    #[test]
    fn this_cpu_is_known() {
        let cpu = Cpu::detect();
        eprintln!("{} {cpu:?}", cpu.key());
        assert!(cpu.has(Isa::Scalar) && cpu.cores >= 1 && !cpu.vendor.is_empty());
        assert!(cpu.isas().iter().all(|isa| Isa::HERE.contains(isa)));
        let is_safe = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(cpu.key().chars().all(is_safe), "{}", cpu.key());
        if cfg!(all(target_arch = "x86_64", target_os = "linux")) {
            assert!(cpu.family > 0 && cpu.caches.l1d >= 8 << 10, "{cpu:?}");
        }
    }

    #[test]
    fn a_cap_drops_what_comes_after_it_in_the_list() {
        let cpu = cpu_with(&[Isa::Scalar, Isa::Avx2, Isa::Avx512bw, Isa::Avx512vbmi]);
        assert_eq!(cpu.clone().capped(Isa::Avx512vbmi).isas(), cpu.isas());
        // The set may lack the cap itself: what comes after it goes all the same.
        let capped = cpu.clone().capped(Isa::Avx512vnni);
        assert_eq!(capped.isas(), [Isa::Scalar, Isa::Avx2, Isa::Avx512bw]);
        assert_eq!(cpu.capped(Isa::Scalar).isas(), [Isa::Scalar]);
    }

    #[test]
    fn one_is_taken_out_and_none_comes_in() {
        let cpu = cpu_with(&[Isa::Scalar, Isa::Avx2, Isa::Avx512bw]);
        let left = cpu.clone().without(Isa::Avx2);
        assert_eq!(left.isas(), [Isa::Scalar, Isa::Avx512bw]);
        assert!(left.kernels().all(|kernel| kernel.isa != Isa::Avx2));
        assert_eq!(cpu.clone().without(Isa::Ssse3), cpu, "it was not there");
        assert_eq!(cpu.clone().without(Isa::Scalar), cpu, "plain Rust stays");
    }

    #[test]
    fn keys_are_file_names() {
        let cpu = Cpu {
            vendor: "  Shanghai  ".to_owned(),
            family: 7,
            model: 59,
            stepping: 0,
            ..Cpu::detect()
        };
        assert_eq!(cpu.key(), "--shanghai---7-59-0");
    }

    #[test]
    fn midr_fields() {
        let mut cpu = Cpu::detect();
        midr_identity(0x413F_D0C1, &mut cpu); // Neoverse N1 r3p1
        assert_eq!(cpu.key(), "arm-15-3340-49");
        midr_identity(0x120F_0000, &mut cpu);
        assert_eq!(cpu.vendor, "arm12");
    }

    #[test]
    fn sysfs_sizes() {
        assert_eq!(sysfs_size("48K\n"), Some(48 << 10));
        assert_eq!(sysfs_size("260M"), Some(260 << 20));
        assert_eq!(sysfs_size("64"), Some(64));
        for bad in ["", "K", "12Q", "99999999999999999999K"] {
            assert_eq!(sysfs_size(bad), None, "{bad:?}");
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn cpuid_fields() {
        assert_eq!(signature(0x000C_06F2), (6, 207, 2)); // Emerald Rapids
        assert_eq!(signature(0x00A2_0F10), (25, 33, 0)); // Zen 3
        // 12 ways x 1 partition x 64 bytes x 64 sets = 48 KiB.
        assert_eq!(cache_bytes(11 << 22 | 63, 63), 48 << 10);
        assert_eq!(cache_bytes(u32::MAX, u32::MAX), u64::MAX);
    }
}
