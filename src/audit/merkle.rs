//! The Merkle tree over the log's records: hashes, the right edge that grows, proofs and how they are checked.
//! Never holds the leaves: whoever asks for a proof says where the hashes of complete subtrees come from.
//! Read `checkpoint.rs` next, which signs what stands at its top.
//!
//! Source: RFC 9162, section 2.1 (the tree of RFC 6962): a leaf is SHA-256(0x00, bytes), a node SHA-256(0x01, left,
//! right), and the left part of n leaves is the largest power of two below n.

use std::ops::Range;

use sha2::{Digest, Sha256};

/// What one leaf, one subtree or the whole tree comes to.
pub type Hash = [u8; 32];

/// No proof is longer: a tree has at most 2^64 leaves.
pub const PROOF_HASHES_MAX: usize = 64;

/// The hash of one record.
pub fn leaf_hash(bytes: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([0]);
    hasher.update(bytes);
    hasher.finalize().into()
}

/// The hash of two subtrees that stand side by side.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    Sha256::digest(bytes).into()
}

/// The root of a tree without leaves.
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// A subtree whose 2^level leaves are all there; the `index`-th of its level, from the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subtree {
    pub level: u32,
    pub index: u64,
}

impl Subtree {
    /// The leaves below it.
    pub const fn leaves(self) -> Range<u64> {
        (self.index << self.level)..((self.index + 1) << self.level)
    }
}

/// The complete subtrees that leaves from `range.start` to `range.end` fall into, from the left. The range begins
/// where a subtree of its size may.
pub fn subtrees(range: Range<u64>) -> Vec<Subtree> {
    let mut found = Vec::new();
    let mut start = range.start;
    while start < range.end {
        let fits = (range.end - start).ilog2();
        let level = start.trailing_zeros().min(fits);
        found.push(Subtree {
            level,
            index: start >> level,
        });
        start += 1 << level;
    }
    found
}

/// The right edge of a tree: what is needed to append to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    /// The hashes of `subtrees(0..size)`.
    peaks: Vec<Hash>,
}

impl Edge {
    /// The edge of a tree of this size, from the hashes of `subtrees(0..size)`. `None`: that is another number of them.
    pub fn from_peaks(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        let is_whole = peaks.len() == size.count_ones() as usize;
        is_whole.then_some(Self { size, peaks })
    }

    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The edge of the tree whose complete subtrees of 2^level leaves were appended to this one as leaves.
    #[must_use]
    pub fn raised(self, level: u32) -> Self {
        Self {
            size: self.size << level,
            peaks: self.peaks,
        }
    }

    /// Appends a leaf by its hash. `each` is told of every subtree that is complete by it, the leaf itself included.
    pub fn append(&mut self, leaf: Hash, mut each: impl FnMut(Subtree, &Hash)) {
        let mut hash = leaf;
        let mut subtree = Subtree {
            level: 0,
            index: self.size,
        };
        each(subtree, &hash);
        while subtree.index & 1 == 1
            && let Some(left) = self.peaks.pop()
        {
            hash = node_hash(&left, &hash);
            subtree = Subtree {
                level: subtree.level + 1,
                index: subtree.index >> 1,
            };
            each(subtree, &hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    pub fn root(&self) -> Hash {
        fold(&self.peaks)
    }
}

/// The hash over neighbours that become smaller to the right.
fn fold(peaks: &[Hash]) -> Hash {
    let mut from_right = peaks.iter().rev();
    let Some(last) = from_right.next() else {
        return empty_root();
    };
    from_right.fold(*last, |right, left| node_hash(left, &right))
}

/// The hash over a range of leaves that is a part of some tree; `hash_of` knows those of complete subtrees.
pub fn hash_of_range<E>(
    range: Range<u64>,
    mut hash_of: impl FnMut(Subtree) -> Result<Hash, E>,
) -> Result<Hash, E> {
    let peaks: Result<Vec<_>, E> = subtrees(range).into_iter().map(&mut hash_of).collect();
    Ok(fold(&peaks?))
}

/// Whose hashes prove that a leaf stands at `index` in a tree of `size` leaves, from the leaf upwards.
pub fn inclusion_ranges(index: u64, size: u64) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            ranges.push(middle..end);
            end = middle;
        } else {
            ranges.push(start..middle);
            start = middle;
        }
    }
    ranges.reverse();
    ranges
}

/// Whose hashes prove that the tree of `old` leaves is the beginning of the one of `new` leaves.
pub fn consistency_ranges(old: u64, new: u64) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    if old == 0 || old >= new {
        return ranges;
    }
    let (mut start, mut end) = (0, new);
    while old < end {
        let middle = start + split(end - start);
        if old <= middle {
            ranges.push(middle..end);
            end = middle;
        } else {
            ranges.push(start..middle);
            start = middle;
        }
    }
    if start > 0 {
        ranges.push(start..end);
    }
    ranges.reverse();
    ranges
}

/// The largest power of two below `leaves`, which are at least two.
fn split(leaves: u64) -> u64 {
    1 << (leaves - 1).ilog2()
}

/// Whether the proof shows that `leaf` stands at `index` in the tree of `size` leaves with this root.
/// Source: RFC 9162, section 2.1.3.2.
pub fn is_included(index: u64, size: u64, leaf: &Hash, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut place, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            hash = node_hash(sibling, &hash);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether the proof shows that the tree of `old` leaves is the beginning of the one of `new` leaves.
/// Source: RFC 9162, section 2.1.4.2.
pub fn is_consistent(old: u64, new: u64, old_root: &Hash, new_root: &Hash, proof: &[Hash]) -> bool {
    if old >= new {
        return old == new && old_root == new_root && proof.is_empty();
    }
    if old == 0 {
        return *old_root == empty_root() && proof.is_empty();
    }
    let (first, rest) = match proof.split_first() {
        _ if old.is_power_of_two() => (old_root, proof),
        Some((first, rest)) => (first, rest),
        None => return false,
    };
    let shift = (old - 1).trailing_ones();
    let (mut place, mut last) = ((old - 1) >> shift, (new - 1) >> shift);
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::convert::Infallible;

    /// The definition, word for word.
    fn naive_root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            more => {
                let (left, right) = more.split_at(split(more.len() as u64) as usize);
                node_hash(&naive_root(left), &naive_root(right))
            }
        }
    }

    fn naive_inclusion(index: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() < 2 {
            return Vec::new();
        }
        let middle = split(leaves.len() as u64) as usize;
        let (left, right) = leaves.split_at(middle);
        let (mut proof, sibling) = if index < middle {
            (naive_inclusion(index, left), right)
        } else {
            (naive_inclusion(index - middle, right), left)
        };
        proof.push(naive_root(sibling));
        proof
    }

    fn naive_consistency(old: usize, leaves: &[Hash], is_old_root: bool) -> Vec<Hash> {
        if old == leaves.len() {
            return if is_old_root {
                Vec::new()
            } else {
                vec![naive_root(leaves)]
            };
        }
        let middle = split(leaves.len() as u64) as usize;
        let (left, right) = leaves.split_at(middle);
        let (mut proof, sibling) = if old <= middle {
            (naive_consistency(old, left, is_old_root), right)
        } else {
            (naive_consistency(old - middle, right, false), left)
        };
        proof.push(naive_root(sibling));
        proof
    }

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count as u64)
            .map(|number| leaf_hash(&number.to_be_bytes()))
            .collect()
    }

    fn grown(leaves: &[Hash]) -> (Edge, HashMap<Subtree, Hash>) {
        let mut known = HashMap::new();
        let mut edge = Edge::default();
        for leaf in leaves {
            edge.append(*leaf, |subtree, hash| {
                known.insert(subtree, *hash);
            });
        }
        (edge, known)
    }

    fn hashes(known: &HashMap<Subtree, Hash>, ranges: Vec<Range<u64>>) -> Vec<Hash> {
        let of = |range| hash_of_range(range, |subtree| Ok::<_, Infallible>(known[&subtree]));
        let all: Result<Vec<_>, _> = ranges.into_iter().map(of).collect();
        all.expect("nothing fails")
    }

    #[test]
    fn edge_has_the_root_of_the_definition_at_every_size() {
        let all = leaves(130);
        for size in 0..=all.len() {
            let (edge, known) = grown(&all[..size]);
            assert_eq!(edge.root(), naive_root(&all[..size]), "{size}");
            let peaks = subtrees(0..size as u64).iter().map(|peak| known[peak]).collect();
            assert_eq!(Edge::from_peaks(size as u64, peaks), Some(edge));
        }
    }

    #[test]
    fn roots_are_those_of_the_reference_log() {
        // The leaves of the test vectors of certificate-transparency-go.
        let inputs = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ];
        let mut edge = Edge::default();
        for input in inputs {
            let bytes: Vec<u8> = (0..input.len() / 2)
                .map(|at| u8::from_str_radix(&input[2 * at..2 * at + 2], 16).expect("hex"))
                .collect();
            edge.append(leaf_hash(&bytes), |_, _| {});
        }
        let root: String = edge.root().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            root,
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
        );
    }

    #[test]
    fn every_small_proof_is_that_of_the_definition_and_proves_nothing_else() {
        let all = leaves(40);
        for size in 1..=all.len() {
            let (edge, known) = grown(&all[..size]);
            let root = edge.root();
            for index in 0..size {
                let proof = hashes(&known, inclusion_ranges(index as u64, size as u64));
                assert_eq!(proof, naive_inclusion(index, &all[..size]), "{index} of {size}");
                for claimed in 0..size {
                    let proves = is_included(claimed as u64, size as u64, &all[index], &proof, &root);
                    assert_eq!(proves, claimed == index, "{index} as {claimed} of {size}");
                }
            }
            for old in 1..size {
                let old_root = naive_root(&all[..old]);
                let proof = hashes(&known, consistency_ranges(old as u64, size as u64));
                assert_eq!(
                    proof,
                    naive_consistency(old, &all[..size], true),
                    "{old} of {size}"
                );
                assert!(is_consistent(old as u64, size as u64, &old_root, &root, &proof));
                assert!(!is_consistent(old as u64, size as u64, &root, &root, &proof));
                assert!(!is_consistent(
                    old as u64,
                    size as u64,
                    &old_root,
                    &old_root,
                    &proof
                ));
            }
        }
    }

    proptest! {
        #[test]
        fn large_proof_holds_and_a_changed_one_does_not(
            size in 2_usize..300, at in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>(),
        ) {
            let all = leaves(size);
            let (edge, known) = grown(&all);
            let (index, size) = (at.index(size) as u64, size as u64);
            let mut proof = hashes(&known, inclusion_ranges(index, size));
            let leaf = all[index as usize];
            prop_assert!(is_included(index, size, &leaf, &proof, &edge.root()));
            prop_assert!(!is_included(index, size, &leaf, &proof[1..], &edge.root()));
            let bit = flip.index(proof.len() * 256);
            proof[bit / 256][bit % 256 / 8] ^= 1 << (bit % 8);
            prop_assert!(!is_included(index, size, &leaf, &proof, &edge.root()));
        }

        #[test]
        fn large_trees_are_consistent_and_forked_ones_are_not(
            size in 2_usize..300, at in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>(),
        ) {
            let mut all = leaves(size);
            let (edge, known) = grown(&all);
            let old = at.index(size - 1) + 1;
            let proof = hashes(&known, consistency_ranges(old as u64, size as u64));
            let (old_root, new_root) = (grown(&all[..old]).0.root(), edge.root());
            prop_assert!(is_consistent(old as u64, size as u64, &old_root, &new_root, &proof));
            all[flip.index(old)][0] ^= 1;
            let forked = grown(&all[..old]).0.root();
            prop_assert!(!is_consistent(old as u64, size as u64, &forked, &new_root, &proof));
        }
    }
}
