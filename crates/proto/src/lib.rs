//! Generated code of the APIs in proto/.
