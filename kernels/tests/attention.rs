//! Attention of every tier against the reference, bit for bit: cache types, head sizes, rows, visible ranges that cross groups
//! of keys and pages, with guard pages around everything the kernel sees.

mod support;

use kinglet_kernels::{
    AttentionParams, KV_PAGE, Kernels, KvLayout, KvType, Partial, PartialRef, QueryRow, Strided,
};
use kinglet_reference::attention::{self as reference, Query, attention};
use std::ops::Range;
use support::{Guarded, Place, Rng, emulated, same, tiers};

struct Case {
    layout: KvLayout,
    params: AttentionParams,
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    q: Vec<f32>,
    rows: Vec<QueryRow>,
}

impl Case {
    fn new(rng: &mut Rng, layout: KvLayout, cached: usize, visible: &[Range<usize>]) -> Case {
        let mut vectors = |n: usize, dim: usize| -> Vec<Vec<f32>> {
            (0..n).map(|_| (0..dim).map(|_| rng.float()).collect()).collect()
        };
        let (keys, values) = (vectors(cached, layout.head_dim), vectors(cached, layout.value_dim));
        let q = vectors(visible.len(), layout.head_dim).concat();
        let slope = |r: usize| if r % 3 == 2 { 0.125 / r as f32 } else { 0.0 };
        let row = |(r, v): (usize, &Range<usize>)| QueryRow {
            position: v.end.max(1) - 1,
            visible: v.clone(),
            slope: slope(r),
        };
        let rows = visible.iter().enumerate().map(row).collect();
        let softcap = rng.next().is_multiple_of(2).then_some(20.0);
        let params = AttentionParams { scale: 1.0 / (layout.head_dim as f32).sqrt(), softcap };
        Case { layout, params, keys, values, q, rows }
    }

    fn want(&self) -> Vec<f32> {
        let ty = match self.layout.ty {
            KvType::F32 => reference::KvType::F32,
            KvType::F16 => reference::KvType::F16,
            KvType::Q8_0 => reference::KvType::Q8_0,
        };
        let keys: Vec<&[f32]> = self.keys.iter().map(Vec::as_slice).collect();
        let values: Vec<&[f32]> = self.values.iter().map(Vec::as_slice).collect();
        let row = |(row, q): (&QueryRow, &[f32])| {
            let (scale, softcap) = (self.params.scale, self.params.softcap);
            let QueryRow { position, visible, slope } = row.clone();
            attention(ty, &Query { q, position, visible, slope, scale, softcap }, &keys, &values)
        };
        self.rows.iter().zip(self.q.chunks(self.layout.head_dim)).flat_map(row).collect()
    }

    /// Page by page, with everything between guard pages.
    fn got(&self, k: &Kernels, place: Place) -> Vec<f32> {
        let (layout, n) = (self.layout, self.rows.len());
        let dim = layout.output_dim();
        let guarded = |len: usize, fill: f32| Guarded::new(bytemuck::cast_slice(&vec![fill; len]), place);
        let q = Guarded::new(bytemuck::cast_slice(&self.q), place);
        let (mut m, mut l, mut o) = (vec![f32::NEG_INFINITY; n], vec![0.0; n], vec![0.0; n * dim]);
        for page in 0..self.keys.len().div_ceil(KV_PAGE) {
            // What no key was stored in must not matter: NaN in every format.
            let mut keys = Guarded::new(&vec![0xff; layout.key_page_bytes()], place);
            let mut values = Guarded::new(&vec![0xff; layout.value_page_bytes()], place);
            let end = ((page + 1) * KV_PAGE).min(self.keys.len());
            let mut j = page * KV_PAGE;
            while j < end {
                let (slot, keys, values) = (j % KV_PAGE, keys.cast_mut(), values.cast_mut());
                if matches!(place, Place::AtStart) {
                    k.store_kv(layout, keys, values, slot, &self.keys[j], &self.values[j]).unwrap();
                    j += 1;
                } else {
                    // Groups of 16 whole and in parts.
                    let n = [3, 13, 40, 1, 1, 32][slot % 6].min(end - j);
                    let (k_rows, k_stride) = strided(&self.keys[j..j + n], place);
                    let (v_rows, v_stride) = strided(&self.values[j..j + n], place);
                    let k_rows = Strided { values: k_rows.cast(), stride: k_stride };
                    let v_rows = Strided { values: v_rows.cast(), stride: v_stride };
                    k.store_kv_batch(layout, keys, values, slot..slot + n, k_rows, v_rows).unwrap();
                    j += n;
                }
            }
            assert!(keys.surroundings_are_intact() && values.surroundings_are_intact(), "{}", k.tier());
            let mut parts = [guarded(n, f32::NAN), guarded(n, f32::NAN), guarded(n * dim, f32::NAN)];
            let mut scratch = Guarded::new(&vec![0xff; k.attention_scratch(layout, n)], place);
            let [pm, pl, po] = &mut parts;
            let out = Partial { m: pm.cast_mut(), l: pl.cast_mut(), o: po.cast_mut() };
            let (keys, values) = (keys.bytes(), values.bytes());
            let (q, scratch_bytes) = (q.cast(), scratch.cast_mut());
            k.attention_page(layout, self.params, q, &self.rows, page, keys, values, out, scratch_bytes)
                .unwrap();
            assert!(parts.iter().chain([&scratch]).all(Guarded::surroundings_are_intact), "{}", k.tier());
            let part = PartialRef { m: parts[0].cast(), l: parts[1].cast(), o: parts[2].cast() };
            k.attention_fold(Partial { m: &mut m, l: &mut l, o: &mut o }, &part).unwrap();
        }
        let mut out = guarded(n * layout.value_dim, f32::NAN);
        k.attention_finish(layout, PartialRef { m: &m, l: &l, o: &o }, out.cast_mut()).unwrap();
        assert!(out.surroundings_are_intact(), "{}", k.tier());
        out.cast().to_vec()
    }

    fn check(&self) {
        let want = self.want();
        for k in tiers() {
            for place in [Place::AtStart, Place::AtEnd] {
                let got = self.got(&k, place);
                for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                    let (tier, rows, layout) = (k.tier(), &self.rows, self.layout);
                    assert!(
                        same(*got, *want),
                        "attention.{tier} {layout:?} {rows:?}: {got:e} where {want:e} is expected at {i}"
                    );
                }
            }
        }
    }
}

/// The rows with three values between them, none behind the last one, and their stride.
fn strided(rows: &[Vec<f32>], place: Place) -> (Guarded, usize) {
    let gap = [f32::NAN; 3];
    let all = rows.iter().map(Vec::as_slice).collect::<Vec<_>>().join(&gap[..]);
    (Guarded::new(bytemuck::cast_slice(&all), place), rows[0].len() + gap.len())
}

const TYPES: [KvType; 3] = [KvType::F32, KvType::F16, KvType::Q8_0];

#[test]
fn head_sizes() {
    let mut rng = Rng(1);
    let dims: &[usize] = if emulated() {
        &[16, 20, 80, 260]
    } else {
        &[1, 8, 16, 20, 24, 32, 33, 48, 64, 80, 96, 128, 256, 257, 520]
    };
    for ty in TYPES {
        for &head_dim in dims {
            for value_dim in [head_dim, head_dim + 5] {
                let layout = KvLayout { ty, head_dim, value_dim };
                let visible: Vec<_> = (0..5).map(|r| 3 * r..40 + r).collect();
                Case::new(&mut rng, layout, 50, &visible).check();
            }
        }
    }
}

#[test]
fn every_number_of_rows() {
    let mut rng = Rng(2);
    for ty in TYPES {
        for rows in if emulated() { 1..=7 } else { 1..=26 } {
            let layout = KvLayout { ty, head_dim: 32, value_dim: 32 };
            // What some of the rows see stands before and after what all of them see.
            let visible: Vec<_> = (0..rows).map(|r| r / 2..20 + r).collect();
            Case::new(&mut rng, layout, 20 + rows, &visible).check();
        }
    }
}

#[test]
fn visible_ranges_cross_groups_and_pages() {
    let mut rng = Rng(3);
    for ty in TYPES {
        let layout = KvLayout { ty, head_dim: 16, value_dim: 16 };
        let cached = 2 * KV_PAGE + 40;
        let windows: &[usize] =
            if emulated() { &[17, 600] } else { &[1, 15, 16, 17, 33, 511, 512, 513, 600, 2000] };
        for &window in windows {
            let ends = [1, 15, 16, 17, 511, 512, 513, 520, 1023, 1024, 1025, 1060];
            let visible: Vec<_> = ends.iter().map(|end| end - window.min(*end)..*end).collect();
            Case::new(&mut rng, layout, cached, &visible).check();
        }
        // Rows that have nothing in common, and one that sees nothing.
        Case::new(&mut rng, layout, cached, &[0..5, 100..120, 0..0, 600..601, 1050..1064]).check();
    }
}

#[test]
fn special_values() {
    let mut rng = Rng(4);
    for ty in TYPES {
        for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, 1e-42] {
            let layout = KvLayout { ty, head_dim: 20, value_dim: 20 };
            let mut case = Case::new(&mut rng, layout, 40, &[0..30, 5..31, 0..12, 33..40]);
            case.keys[7][3] = special;
            case.values[9][2] = special;
            case.q[25] = special;
            case.check();
            // A value counts only for the rows that see it, also where it is before or after what all of them see.
            let mut case =
                Case::new(&mut rng, layout, 40, &std::array::from_fn::<_, 25, _>(|r| r / 4..30 + r / 4));
            case.values[1][2] = special;
            case.values[33][3] = special;
            case.check();
        }
    }
}

#[test]
fn wrong_shapes_are_errors() {
    let k = Kernels::detect().unwrap();
    let layout = KvLayout { ty: KvType::F16, head_dim: 16, value_dim: 16 };
    let (mut keys, mut values) = (vec![0; layout.key_page_bytes()], vec![0; layout.value_page_bytes()]);
    let x = [0.0; 16];
    assert!(k.store_kv(layout, &mut keys, &mut values, KV_PAGE, &x, &x).is_err());
    assert!(k.store_kv(layout, &mut keys, &mut values, 0, &x[1..], &x).is_err());
    assert!(k.store_kv(layout, &mut keys[1..], &mut values, 0, &x, &x).is_err());
    assert!(k.store_kv(layout, &mut keys, &mut values, usize::MAX, &x, &x).is_err());
    let mut store = |slots, values_of: &[f32], stride| {
        let rows = Strided { values: values_of, stride };
        k.store_kv_batch(layout, &mut keys, &mut values, slots, rows, rows)
    };
    let two = [x, x].concat();
    store(0..2, &two, x.len()).unwrap();
    store(KV_PAGE..KV_PAGE, &[], 0).unwrap();
    assert!(store(0..2, &two[1..], x.len()).is_err());
    assert!(store(KV_PAGE - 1..KV_PAGE + 1, &two, x.len()).is_err());
    assert!(store(Range { start: 2, end: 1 }, &two, x.len()).is_err());
    assert!(store(0..3, &two, usize::MAX).is_err());
    let bad = KvLayout { head_dim: 0, ..layout };
    assert!(bad.check().is_err());
    let rows = [QueryRow { position: 0, visible: 0..1, slope: 0.0 }];
    let params = AttentionParams { scale: 1.0, softcap: None };
    let (mut m, mut l, mut o) = ([0.0], [0.0], [0.0; 16]);
    let out = Partial { m: &mut m, l: &mut l, o: &mut o };
    assert!(k.attention_page(layout, params, &x, &rows, 0, &keys, &values, out, &mut []).is_err());
}
