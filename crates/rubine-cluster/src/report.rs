//! What the CLUSTER commands show, in exactly the shapes of Valkey's. Changes nothing, and takes time in proportion to nodes
//! and slots.

mod explain;
mod info;
mod nodes;
mod replies;

pub use nodes::Viewer;
