//! Bytes of a segment file.
//!
//! ```text
//! segment  = header (4096 bytes) batch* zeros
//! header   = magic 8 | format u32 | name length u8 | name 32 | 0 3 | base u64 | size u64 | crc u32
//! batch    = magic 8 | length u32 | records u32 | synced u64 | 0 u32 | crc u32 | frame*
//! frame    = shard u32 | length u32 | crc u32 | record
//! ```
//!
//! All numbers are little-endian. A position is the segment's base plus the offset in its file, so positions grow over
//! all segments. Every CRC-32C starts with base and position: bytes that were copied to another place are not believed
//! there. `synced` says how far the whole log was durable when the batch was written; what lies before it may never be
//! missing. The first batch of a segment has it exactly at the end of the segment before.

use largesse_engine::ledger::LedgerName;

/// Version of everything in this file.
pub(super) const FORMAT: u32 = 1;
pub(super) const SEGMENT_HEADER_BYTES: u64 = 4096;
pub(super) const BATCH_HEADER_BYTES: u64 = 32;
pub(super) const FRAME_HEADER_BYTES: u64 = 12;

const SEGMENT_MAGIC: [u8; 8] = *b"largwal\n";
const SEGMENT_HEADER_USED: usize = 68;
/// Drawn once; what matters is that it is not found in records by chance.
const BATCH_MAGIC: [u8; 8] = [0xb7, 0x1e, 0x9d, 0x43, 0xf2, 0x68, 0xca, 0x05];
/// Stands where truncated records were; its bytes are not covered by the checksum.
const SKIP: u32 = u32::MAX;

/// An offset or length within memory.
pub(super) fn size(bytes: u64) -> usize {
    usize::try_from(bytes).expect("segments fit into memory, which options check")
}

/// A length within one segment.
pub(super) fn short(bytes: u64) -> u32 {
    u32::try_from(bytes).expect("segments are smaller than 4 GiB, which options check")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn checksum(base: u64, position: u64, content: &[u8]) -> u32 {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&base.to_le_bytes());
    place[8..].copy_from_slice(&position.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&place), content)
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub ledger: LedgerName,
    pub base: u64,
    pub size: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    Newer(u32),
    Damaged(&'static str),
}

impl SegmentHeader {
    pub fn encode(&self) -> Vec<u8> {
        let name = self.ledger.as_str().as_bytes();
        let mut bytes = vec![0; size(SEGMENT_HEADER_BYTES)];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12] = u8::try_from(name.len()).expect("a ledger's name has at most 32 letters");
        bytes[13..13 + name.len()].copy_from_slice(name);
        bytes[48..56].copy_from_slice(&self.base.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.size.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..64]);
        bytes[64..68].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<SegmentHeader, HeaderFault> {
        if bytes.len() < size(SEGMENT_HEADER_BYTES) {
            return Err(HeaderFault::Damaged("the file is shorter than its header"));
        }
        let bytes = &bytes[..SEGMENT_HEADER_USED];
        if bytes[..8] != SEGMENT_MAGIC {
            return Err(HeaderFault::Damaged("the file does not start like a segment of a log"));
        }
        let format = u32_at(bytes, 8);
        if format > FORMAT {
            return Err(HeaderFault::Newer(format));
        }
        if u32_at(bytes, 64) != crc32c::crc32c(&bytes[..64]) {
            return Err(HeaderFault::Damaged("the header's checksum does not match"));
        }
        let name = bytes.get(13..13 + usize::from(bytes[12]).min(35)).unwrap_or_default();
        let ledger = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
        let ledger = ledger.ok_or(HeaderFault::Damaged("the header names no ledger"))?;
        Ok(SegmentHeader { ledger, base: u64_at(bytes, 48), size: u64_at(bytes, 56) })
    }
}

/// A batch being put together, in memory that the next one uses again.
#[derive(Debug, Default)]
pub(super) struct BatchBuffer {
    bytes: Vec<u8>,
    base: u64,
    at: u64,
    records: u32,
}

impl BatchBuffer {
    /// Starts over, for the place in the segment at which the batch will lie.
    pub fn start(&mut self, base: u64, at: u64) {
        self.bytes.clear();
        self.bytes.resize(size(BATCH_HEADER_BYTES), 0);
        (self.base, self.at, self.records) = (base, at, 0);
    }

    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    pub fn at(&self) -> u64 {
        self.at
    }

    /// Where the batch ends as it is now.
    pub fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }

    /// Adds one record and says where it will lie.
    pub fn push(&mut self, shard: u32, record: &[u8]) -> u64 {
        let position = self.end();
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&shard.to_le_bytes());
        self.bytes.extend_from_slice(&short(record.len() as u64).to_le_bytes());
        let head = checksum(self.base, position, &self.bytes[start..start + 8]);
        let crc = crc32c::crc32c_append(head, record);
        self.bytes.extend_from_slice(&crc.to_le_bytes());
        self.bytes.extend_from_slice(record);
        self.records += 1;
        position
    }

    /// Writes the header into its place. The bytes are then ready for the file.
    pub fn finish(&mut self, synced: u64) -> &[u8] {
        let length = self.bytes.len() as u64 - BATCH_HEADER_BYTES;
        let header = batch_header(self.base, self.at, length, self.records, synced);
        self.bytes[..size(BATCH_HEADER_BYTES)].copy_from_slice(&header);
        &self.bytes
    }
}

pub(super) fn batch_header(base: u64, at: u64, length: u64, records: u32, synced: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&BATCH_MAGIC);
    bytes[8..12].copy_from_slice(&short(length).to_le_bytes());
    bytes[12..16].copy_from_slice(&records.to_le_bytes());
    bytes[16..24].copy_from_slice(&synced.to_le_bytes());
    let crc = checksum(base, at, &bytes[..28]);
    bytes[28..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The head of a frame that stands for `length` bytes nobody needs any more, itself included.
pub(super) fn skip_frame(base: u64, position: u64, length: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&SKIP.to_le_bytes());
    bytes[4..8].copy_from_slice(&short(length - FRAME_HEADER_BYTES).to_le_bytes());
    let crc = checksum(base, position, &bytes[..8]);
    bytes[8..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchAt {
    pub at: u64,
    pub synced: u64,
    pub end: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameAt {
    pub position: u64,
    pub shard: u32,
    /// Length of the record, without the frame's head.
    pub len: u32,
}

impl FrameAt {
    pub fn is_skip(&self) -> bool {
        self.shard == SKIP
    }

    pub fn end(&self) -> u64 {
        self.position + FRAME_HEADER_BYTES + u64::from(self.len)
    }

    pub fn record<'a>(&self, base: u64, file: &'a [u8]) -> &'a [u8] {
        &file[size(self.position - base + FRAME_HEADER_BYTES)..size(self.end() - base)]
    }
}

/// What lies at a place where a batch should start.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Batch(BatchAt),
    /// Nothing but zeros up to the end of the file.
    End,
    Damaged {
        at: u64,
        why: &'static str,
    },
}

/// Reads the batch at position `at` of a segment whose whole file is given, its frames into `frames`.
pub(super) fn next_batch(file: &[u8], base: u64, at: u64, frames: &mut Vec<FrameAt>) -> Step {
    frames.clear();
    let rest = &file[size(at - base)..];
    let Some(header) = rest.get(..size(BATCH_HEADER_BYTES)) else {
        return if is_zero(rest) { Step::End } else { Step::Damaged { at, why: "bytes where no batch fits" } };
    };
    if header[0] == 0 && is_zero(rest) {
        return Step::End;
    }
    let Some((batch, records)) = batch_at(file, base, at) else {
        return Step::Damaged { at, why: "no valid batch starts here" };
    };
    if batch.end - base > file.len() as u64 {
        return Step::Damaged { at, why: "the batch reaches beyond the end of the file" };
    }
    let mut position = at + BATCH_HEADER_BYTES;
    while position < batch.end {
        match frame_at(&file[size(position - base)..size(batch.end - base)], base, position) {
            Some(frame) => {
                position = frame.end();
                frames.push(frame);
            }
            None => return Step::Damaged { at: position, why: "the record's checksum does not match" },
        }
    }
    if frames.len() as u64 == u64::from(records) {
        Step::Batch(batch)
    } else {
        Step::Damaged { at, why: "the batch holds another number of records than it says" }
    }
}

/// Checks one frame at the start of `bytes`.
pub(super) fn frame_at(bytes: &[u8], base: u64, position: u64) -> Option<FrameAt> {
    let head = bytes.get(..size(FRAME_HEADER_BYTES))?;
    let frame = FrameAt { position, shard: u32_at(head, 0), len: u32_at(head, 4) };
    let record = bytes.get(head.len()..head.len() + frame.len as usize)?;
    let mut crc = checksum(base, position, &head[..8]);
    if !frame.is_skip() {
        crc = crc32c::crc32c_append(crc, record);
    }
    (crc == u32_at(head, 8)).then_some(frame)
}

/// The header of a batch alone, with its number of records.
fn batch_at(file: &[u8], base: u64, at: u64) -> Option<(BatchAt, u32)> {
    let header = file.get(size(at - base)..)?.get(..size(BATCH_HEADER_BYTES))?;
    let valid = header[..8] == BATCH_MAGIC && u32_at(header, 28) == checksum(base, at, &header[..28]);
    let batch = BatchAt { at, synced: u64_at(header, 16), end: at + BATCH_HEADER_BYTES + u64::from(u32_at(header, 8)) };
    (valid && batch.synced <= at).then_some((batch, u32_at(header, 12)))
}

/// The highest `synced` of any batch header that is found at or after `at`, whatever lies between.
pub(super) fn highest_mark(file: &[u8], base: u64, at: u64) -> Option<u64> {
    let from = size(at - base);
    memchr::memmem::find_iter(&file[from..], &BATCH_MAGIC)
        .filter_map(|found| batch_at(file, base, at + found as u64))
        .map(|(batch, _)| batch.synced)
        .max()
}

/// Where the next valid batch header lies at or after `at`.
pub(super) fn find_batch(file: &[u8], base: u64, at: u64) -> Option<u64> {
    let rest = file.get(size(at - base)..)?;
    let found = memchr::memmem::find_iter(rest, &BATCH_MAGIC).map(|found| at + found as u64);
    found.into_iter().find(|at| batch_at(file, base, *at).is_some())
}

pub(super) fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| *chunk == ZEROS[..chunk.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 1 << 20;

    /// A segment file of 16 KiB with one batch of two records.
    fn file_with_a_batch() -> (Vec<u8>, u64) {
        let header = SegmentHeader { ledger: LedgerName::default(), base: BASE, size: 16 << 10 };
        let mut file = header.encode();
        let mut batch = BatchBuffer::default();
        batch.start(BASE, BASE + SEGMENT_HEADER_BYTES);
        batch.push(7, b"first");
        batch.push(8, b"");
        file.extend_from_slice(batch.finish(BASE));
        let end = batch.end();
        file.resize(16 << 10, 0);
        (file, end)
    }

    #[test]
    fn a_segment_comes_back_as_it_went() {
        let (file, end) = file_with_a_batch();
        let header = SegmentHeader::decode(&file).unwrap();
        assert_eq!((header.ledger, header.base, header.size), (LedgerName::default(), BASE, 16 << 10));
        let mut frames = Vec::new();
        let step = next_batch(&file, BASE, BASE + 4096, &mut frames);
        assert_eq!(step, Step::Batch(BatchAt { at: BASE + 4096, synced: BASE, end }));
        let records: Vec<_> = frames.iter().map(|frame| (frame.shard, frame.record(BASE, &file))).collect();
        assert_eq!(records, [(7, &b"first"[..]), (8, &b""[..])]);
        assert_eq!(next_batch(&file, BASE, end, &mut frames), Step::End);
        assert_eq!(highest_mark(&file, BASE, BASE + 4096), Some(BASE));
    }

    #[test]
    fn every_changed_bit_of_a_batch_is_noticed() {
        let (file, end) = file_with_a_batch();
        for at in 4096..size(end - BASE) {
            for bit in 0..8 {
                let mut file = file.clone();
                file[at] ^= 1 << bit;
                let step = next_batch(&file, BASE, BASE + 4096, &mut Vec::new());
                assert!(matches!(step, Step::Damaged { .. }), "byte {at} bit {bit}: {step:?}");
            }
        }
    }

    #[test]
    fn every_changed_bit_of_a_header_is_noticed() {
        let (file, _) = file_with_a_batch();
        for at in 0..SEGMENT_HEADER_USED {
            for bit in 0..8 {
                let mut file = file.clone();
                file[at] ^= 1 << bit;
                assert!(SegmentHeader::decode(&file).is_err(), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn a_batch_is_believed_only_where_it_was_written() {
        let (file, end) = file_with_a_batch();
        let batch = file[4096..size(end - BASE)].to_vec();
        // Somewhere else in the same file, and at the same offset of another file.
        let mut moved = file.clone();
        moved[8192..8192 + batch.len()].copy_from_slice(&batch);
        assert!(matches!(next_batch(&moved, BASE, BASE + 8192, &mut Vec::new()), Step::Damaged { .. }));
        assert_eq!(highest_mark(&moved, BASE, BASE + 8192), None);
        let other = 2 * BASE;
        assert!(matches!(next_batch(&file, other, other + 4096, &mut Vec::new()), Step::Damaged { .. }));
    }
}
