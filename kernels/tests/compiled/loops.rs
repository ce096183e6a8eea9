//! The control flow of a function: its instructions in blocks, and its innermost loops.

use std::collections::BTreeSet;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};

use super::executable::Code;

/// Instructions that run one after another, and the blocks that may come next.
struct Block {
    instructions: Vec<Instruction>,
    next: Vec<usize>,
}

/// The instructions of each innermost loop of `code`: loops that hold no other loop.
///
/// A function's bytes are instructions from first to last: the compiler keeps its tables of jumps and constants elsewhere.
pub fn innermost_loops(code: &Code) -> Vec<Vec<Instruction>> {
    let blocks = blocks(code);
    let mut found = Vec::new();
    let all: BTreeSet<usize> = (0..blocks.len()).collect();
    innermost(&blocks, &all, &mut found);
    let instructions = |members: &BTreeSet<usize>| {
        let each = members.iter().map(|&block| &blocks[block].instructions);
        each.flatten().copied().collect()
    };
    found.iter().map(instructions).collect()
}

/// Cuts a function into blocks.
fn blocks(code: &Code) -> Vec<Block> {
    let decoder = Decoder::with_ip(64, code.bytes, code.address, DecoderOptions::NONE);
    let instructions: Vec<Instruction> = decoder.into_iter().collect();
    let end = code.address + code.bytes.len() as u64;
    let inside = |address: u64| (code.address..end).contains(&address);
    let mut starts = BTreeSet::from([code.address]);
    for instruction in &instructions {
        assert!(
            !instruction.is_invalid(),
            "{:x} is no instruction",
            instruction.ip()
        );
        let flow = instruction.flow_control();
        assert!(
            flow != FlowControl::IndirectBranch,
            "{:x} jumps where only a run can tell",
            instruction.ip()
        );
        if flow != FlowControl::Next && inside(instruction.next_ip()) {
            starts.insert(instruction.next_ip());
        }
        starts.extend(branch_target(instruction).filter(|&target| inside(target)));
    }
    let number = |address: u64| starts.iter().position(|&start| start == address);
    let ends = starts.iter().copied().skip(1).chain([end]);
    let ranges = starts.iter().copied().zip(ends);
    let block = |(start, end): (u64, u64)| {
        let within = |i: &&Instruction| (start..end).contains(&i.ip());
        let instructions: Vec<Instruction> = instructions.iter().filter(within).copied().collect();
        let last = instructions
            .last()
            .expect("a block starts with an instruction");
        let falls = !matches!(
            last.flow_control(),
            FlowControl::UnconditionalBranch | FlowControl::Return | FlowControl::Exception
        );
        let next = branch_target(last)
            .into_iter()
            .chain(falls.then_some(last.next_ip()));
        Block {
            next: next.filter_map(number).collect(),
            instructions,
        }
    };
    ranges.map(block).collect()
}

/// Where a direct branch goes.
fn branch_target(instruction: &Instruction) -> Option<u64> {
    use FlowControl::{ConditionalBranch, UnconditionalBranch};
    matches!(
        instruction.flow_control(),
        ConditionalBranch | UnconditionalBranch
    )
    .then(|| instruction.near_branch_target())
}

/// Adds the innermost loops among `members` to `found`.
///
/// A loop is a largest set of blocks that all reach each other. The blocks where it is entered belong to no loop inside it: without
/// them, what still goes round is an inner loop.
fn innermost(blocks: &[Block], members: &BTreeSet<usize>, found: &mut Vec<BTreeSet<usize>>) {
    let reached = |from: usize| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(block) = open.pop() {
            let next = blocks[block].next.iter().copied();
            open.extend(next.filter(|n| members.contains(n) && seen.insert(*n)));
        }
        seen
    };
    let reach: Vec<(usize, BTreeSet<usize>)> = members.iter().map(|&b| (b, reached(b))).collect();
    let mut done: BTreeSet<usize> = BTreeSet::new();
    for (block, after) in reach.iter().filter(|(block, after)| after.contains(block)) {
        if done.contains(block) {
            continue;
        }
        let returns = |(b, to): &&(usize, BTreeSet<usize>)| after.contains(b) && to.contains(block);
        let whole: BTreeSet<usize> = reach.iter().filter(returns).map(|(b, _)| *b).collect();
        done.extend(&whole);
        let entered = |b: &usize| {
            let mut from = (0..blocks.len()).filter(|other| !whole.contains(other));
            from.any(|other| blocks[other].next.contains(b))
        };
        let inner = whole.iter().copied().filter(|b| !entered(b)).collect();
        let before = found.len();
        innermost(blocks, &inner, found);
        if found.len() == before {
            found.push(whole);
        }
    }
}
