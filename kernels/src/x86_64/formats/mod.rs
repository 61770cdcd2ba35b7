//! How each hand-written format unpacks into tiles.

#![allow(non_camel_case_types, reason = "the names are the field's own")]

mod iq4;
mod k;
mod legacy;

pub(crate) use iq4::{IQ4_NL, IQ4_XS, MXFP4};
pub(crate) use k::{Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, TQ2_0};
pub(crate) use legacy::{Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
