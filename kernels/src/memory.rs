//! Memory for packed weights and tables: zeroed, aligned, on huge pages where the system gives them.
//!
//! A matrix-vector product reads every weight once a token, so with 4 KiB pages a good part of the
//! time goes into address translation: 2 MiB pages made the streaming kernels 1.17 to 1.38 times as
//! fast. Transparent huge pages need no privilege and no set-up, only a mapping whose 2 MiB-aligned
//! ranges are advised before they are first touched. Explicit `MAP_HUGETLB` pages would have to be
//! reserved by an administrator.
//!
//! Every buffer is an anonymous mapping, so it starts as zeros, nothing is resident until it is
//! written, and the thread that first writes a page decides the memory node it lives on. WebAssembly
//! has neither mappings nor pages to choose; there a buffer is a piece of the heap.

mod available;

use std::fs;
use std::io;
use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;

pub use available::available_memory;

/// Bytes of a huge page. The size on x86-64 and on ARM with a 4 KiB granule; where huge pages are
/// larger, the advice still helps inside large buffers.
pub const HUGE_PAGE: usize = 2 << 20;

/// The least alignment of a buffer.
const LINE: usize = 64;

/// Which pages a buffer asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Pages {
    /// Huge pages (2 MiB), where the buffer fills at least half of one.
    #[default]
    Huge,
    /// The system's base pages (4 KiB on most machines). For comparison.
    Small,
}

/// Why memory could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// No address space is that large; a size field of a damaged file often is the cause.
    #[error("cannot allocate {bytes} bytes: that is more than this system can address")]
    TooLarge {
        /// The size asked for.
        bytes: usize,
    },
    /// The system refused.
    #[error(
        "cannot allocate {bytes} bytes: {source}; free memory, raise the limit (`ulimit -v`) or \
         use a smaller model"
    )]
    Refused {
        /// The size asked for.
        bytes: usize,
        /// The system's reason.
        source: io::Error,
    },
}

/// A zeroed block of bytes: at least 64-byte aligned, 2 MiB aligned from half a huge page up.
///
/// Use it as a byte slice.
#[derive(Debug)]
pub struct Buffer {
    memory: Memory,
    /// Where the buffer starts in `memory`.
    offset: usize,
    len: usize,
    /// The length it was made with: what lies behind is slack, on whatever pages.
    capacity: usize,
    pages: Pages,
    advised: bool,
}

impl Buffer {
    /// `len` zero bytes on the given pages. `len` may be 0.
    ///
    /// The choice of pages is advice: a system that declines it gives other pages, never an error.
    /// [`Buffer::advised`] says whether it listened, [`huge_bytes_in_use`] what came of it.
    ///
    /// # Errors
    ///
    /// [`MemoryError`] if there is not that much memory or address space.
    pub fn zeroed(len: usize, pages: Pages) -> Result<Buffer, MemoryError> {
        let huge_len = huge_len(len);
        let alignment = if huge_len > 0 { HUGE_PAGE } else { LINE };
        let slack = alignment - 1;
        // The last huge page may reach past the buffer, the first starts anywhere in the slack.
        // Neither costs memory: what is never touched is never resident.
        let total = len
            .max(huge_len)
            .checked_add(slack)
            .filter(|&total| isize::try_from(total).is_ok())
            .ok_or(MemoryError::TooLarge { bytes: len })?;
        let memory =
            zeroed_memory(total).map_err(|source| MemoryError::Refused { bytes: len, source })?;
        let offset = memory.as_ptr().align_offset(alignment);
        assert!(offset <= slack, "an aligned address lies within the slack");
        let advised = huge_len > 0 && advise(&memory, pages, offset, huge_len);
        Ok(Buffer {
            memory,
            offset,
            len,
            capacity: len,
            pages,
            advised,
        })
    }

    /// The pages that were asked for.
    pub fn pages(&self) -> Pages {
        self.pages
    }

    /// Bytes that the buffer can hold: the length it was made with.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Makes the buffer shorter or longer within its capacity. Bytes beyond the old length hold what was last written there.
    ///
    /// # Panics
    ///
    /// When `len` is above [`Buffer::capacity`].
    pub fn set_len(&mut self, len: usize) {
        assert!(
            len <= self.capacity,
            "{len} bytes in a buffer for {}",
            self.capacity
        );
        self.len = len;
    }

    /// Whether the system accepted the advice. False for buffers too small to advise on.
    pub fn advised(&self) -> bool {
        self.advised
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.offset..][..self.len]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.offset..][..self.len]
    }
}

/// Weights that nobody changes any more: in memory of their own, or in a file that stays mapped because it does not fit memory, or in a
/// buffer with others.
pub enum Storage {
    /// Memory of their own.
    Own(Buffer),
    /// A part of what others use too.
    Shared(Shared),
}

impl Storage {
    /// Moves what has memory of its own together into one buffer, if less of it lies on small pages then.
    ///
    /// The keys of an attention with few key heads are a tenth of a huge page. On small pages, which end every 64 cache lines, they came from
    /// memory at 18 GB/s on Zen 4 where their layer's other matrices reached 29.
    ///
    /// # Errors
    ///
    /// [`MemoryError`] if there is no memory for the new buffer; then nothing has moved.
    pub fn gather(parts: &mut [&mut Storage]) -> Result<(), MemoryError> {
        let own = |part: &Storage| match part {
            Storage::Own(buffer) => Some((buffer.len(), buffer.pages())),
            Storage::Shared(_) => None,
        };
        let sizes: Option<Vec<(usize, Pages)>> = parts.iter().map(|part| own(part)).collect();
        let Some(sizes) = sizes else { return Ok(()) };
        let all_wanted = sizes.iter().all(|&(_, pages)| pages == Pages::Huge);
        let on_small = |len: usize| len.saturating_sub(huge_len(len));
        let before = sizes.iter().map(|&(len, _)| on_small(len));
        let before = before.fold(0, usize::saturating_add);
        let places = sizes.iter().scan(0usize, |end, &(len, _)| {
            let start = *end;
            *end = start.checked_add(len)?.checked_next_multiple_of(LINE)?;
            Some(start..start + len)
        });
        let places: Vec<Range<usize>> = places.collect();
        let all = places.last().map_or(0, |last| last.end);
        // Fewer where their end overflowed.
        let fits = places.len() == parts.len();
        if !fits || !all_wanted || on_small(all) >= before {
            return Ok(());
        }
        let mut buffer = Buffer::zeroed(all, Pages::Huge)?;
        for (part, place) in parts.iter().zip(&places) {
            buffer[place.clone()].copy_from_slice(part);
        }
        let pages = buffer.pages();
        let whole: Arc<Buffer> = Arc::new(buffer);
        for (part, range) in parts.iter_mut().zip(places) {
            let whole = whole.clone();
            **part = Storage::Shared(Shared {
                whole,
                range,
                pages,
            });
        }
        Ok(())
    }

    /// Bytes of the memory that they lie in, what belongs to others excepted.
    pub fn capacity(&self) -> usize {
        match self {
            Storage::Own(buffer) => buffer.capacity(),
            Storage::Shared(shared) => shared.len(),
        }
    }

    /// The pages that their memory was asked for on; those of a file are small.
    pub fn pages(&self) -> Pages {
        match self {
            Storage::Own(buffer) => buffer.pages(),
            Storage::Shared(shared) => shared.pages,
        }
    }
}

/// A part of bytes that live as long as anybody uses them.
#[derive(Clone)]
pub struct Shared {
    whole: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
    pages: Pages,
}

impl Shared {
    /// Bytes `range` of `whole`, a file for example, on small pages; `None` if it has no such bytes.
    pub fn new(whole: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>) -> Option<Shared> {
        (*whole).as_ref().get(range.clone())?;
        let pages = Pages::Small;
        Some(Shared {
            whole,
            range,
            pages,
        })
    }
}

impl Deref for Shared {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &(*self.whole).as_ref()[self.range.clone()]
    }
}

impl Deref for Storage {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Storage::Own(buffer) => buffer,
            Storage::Shared(shared) => shared,
        }
    }
}

/// The bytes, in whole huge pages, that a buffer of `len` bytes gets advice for.
///
/// Rounded to the nearest page: the last, partly used huge page pays for itself when at least half
/// of it is used, and wastes at most 1 MiB. A shorter rest stays on small pages.
fn huge_len(len: usize) -> usize {
    if !HAS_PAGES {
        return 0;
    }
    (len / HUGE_PAGE + usize::from(len % HUGE_PAGE >= HUGE_PAGE / 2)).saturating_mul(HUGE_PAGE)
}

/// Whether this target maps memory in pages.
const HAS_PAGES: bool = !cfg!(target_family = "wasm");

/// What a buffer is cut from.
#[cfg(not(target_family = "wasm"))]
type Memory = memmap2::MmapMut;
#[cfg(target_family = "wasm")]
type Memory = Vec<u8>;

/// `len` zero bytes (more than none) from the system.
#[cfg(not(target_family = "wasm"))]
fn zeroed_memory(len: usize) -> io::Result<Memory> {
    memmap2::MmapOptions::new().len(len).map_anon()
}

/// `len` zero bytes from the heap.
#[cfg(target_family = "wasm")]
fn zeroed_memory(len: usize) -> io::Result<Memory> {
    let mut memory = Vec::new();
    memory
        .try_reserve_exact(len)
        .map_err(|_| io::ErrorKind::OutOfMemory)?;
    memory.resize(len, 0);
    Ok(memory)
}

#[cfg(target_os = "linux")]
fn advise(memory: &Memory, pages: Pages, offset: usize, len: usize) -> bool {
    let advice = match pages {
        Pages::Huge => memmap2::Advice::HugePage,
        Pages::Small => memmap2::Advice::NoHugePage,
    };
    // Refused where the kernel was built without transparent huge pages.
    memory.advise_range(advice, offset, len).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn advise(_: &Memory, _: Pages, _: usize, _: usize) -> bool {
    false
}

/// Bytes of this process that lie on transparent huge pages now, or `None` where the system does not
/// say.
///
/// Benchmarks record it: advice does not prove pages. Costs a walk over the page tables.
pub fn huge_bytes_in_use() -> Option<usize> {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    anon_huge_bytes(&rollup)
}

/// Reads `AnonHugePages:    4096 kB`.
fn anon_huge_bytes(rollup: &str) -> Option<usize> {
    let value = rollup
        .lines()
        .find_map(|line| line.strip_prefix("AnonHugePages:"))?;
    let kib: usize = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(not(target_family = "wasm"))]
    fn huge_pages_are_advised_for_what_fills_half_of_one() {
        let half = HUGE_PAGE / 2;
        assert_eq!(huge_len(0), 0);
        assert_eq!(huge_len(half - 1), 0);
        assert_eq!(huge_len(half), HUGE_PAGE);
        assert_eq!(huge_len(HUGE_PAGE + half - 1), HUGE_PAGE);
        assert_eq!(huge_len(HUGE_PAGE + half), 2 * HUGE_PAGE);
    }

    #[test]
    fn a_buffer_keeps_its_bytes_when_its_length_changes() {
        let mut buffer = Buffer::zeroed(100, Pages::Small).unwrap();
        buffer.fill(7);
        buffer.set_len(10);
        assert_eq!(*buffer, [7; 10]);
        buffer.set_len(100);
        assert_eq!(*buffer, [7; 100]);
        assert_eq!(buffer.capacity(), 100);
    }

    #[test]
    fn a_part_of_shared_bytes_stays_within_them() {
        let whole = Arc::new(vec![1u8, 2, 3, 4]);
        let part = Shared::new(whole.clone(), 1..3).unwrap();
        assert_eq!(*part, [2, 3]);
        assert_eq!(*Storage::Shared(part), [2, 3]);
        assert!(Shared::new(whole.clone(), 2..5).is_none());
        let backwards = Range { start: 3, end: 2 };
        assert!(Shared::new(whole, backwards).is_none());
    }

    #[test]
    #[cfg(not(target_family = "wasm"))]
    fn what_is_too_small_for_huge_pages_shares_one() {
        let filled = |len: usize, byte: u8, pages: Pages| {
            let mut buffer = Buffer::zeroed(len, pages).unwrap();
            buffer.fill(byte);
            Storage::Own(buffer)
        };
        let gathered = |lens: [usize; 3], pages: Pages| {
            let mut parts = [1, 2, 3].map(|i| filled(lens[i - 1], i as u8, pages));
            let mut borrowed: Vec<&mut Storage> = parts.iter_mut().collect();
            Storage::gather(&mut borrowed).unwrap();
            for (i, part) in parts.iter().enumerate() {
                assert!(part.iter().all(|&byte| usize::from(byte) == i + 1));
                assert_eq!((part.len(), part.pages()), (lens[i], pages));
                assert_eq!(part.as_ptr().align_offset(LINE), 0);
            }
            parts.iter().all(|part| matches!(part, Storage::Shared(_)))
        };
        let half = HUGE_PAGE / 2;
        assert!(gathered([half, half / 4, half / 4 + 1], Pages::Huge));
        // Together less of the middle one would be on them.
        assert!(!gathered(
            [half * 6 / 5, half * 6 / 5, half * 2 / 5],
            Pages::Huge
        ));
        // All of them have their own already, or all together fill no half of one, or nobody wants them.
        assert!(!gathered([half; 3], Pages::Huge));
        assert!(!gathered([half / 8; 3], Pages::Huge));
        assert!(!gathered([half, half / 4, half / 4], Pages::Small));
        // What is in a file stays there.
        let file = Shared::new(Arc::new(vec![7u8; 10]), 0..10).unwrap();
        let mut parts = [
            filled(half, 1, Pages::Huge),
            Storage::Shared(file),
            filled(9, 1, Pages::Huge),
        ];
        let mut borrowed: Vec<&mut Storage> = parts.iter_mut().collect();
        Storage::gather(&mut borrowed).unwrap();
        assert!(matches!(parts[0], Storage::Own(_)));
    }

    #[test]
    #[should_panic(expected = "bytes in a buffer for")]
    fn a_buffer_does_not_outgrow_its_memory() {
        let mut buffer = Buffer::zeroed(100, Pages::Small).unwrap();
        buffer.set_len(buffer.capacity() + 1);
    }

    #[test]
    fn smaps_rollup_is_read_in_kib() {
        let rollup = "00400000-7ffd00000000 ---p 00000000 00:00 0    [rollup]\n\
                      Rss:              1234 kB\nAnonHugePages:      4096 kB\nSwap: 0 kB\n";
        assert_eq!(anon_huge_bytes(rollup), Some(4 << 20));
        assert_eq!(anon_huge_bytes("Rss: 1 kB\n"), None);
        assert_eq!(anon_huge_bytes("AnonHugePages: many\n"), None);
    }
}
