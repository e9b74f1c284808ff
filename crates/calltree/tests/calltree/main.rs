//! Tests of the crate through its public face.

mod damage;
mod examples;
mod fixture;
mod interning;
mod properties;
