#![doc = include_str!("../README.md")]

mod executor;
mod io;
mod timer;
mod tower;

pub use executor::ReactorExecutor;
pub use io::Io;
pub use timer::ReactorTimer;
pub use tower::TowerService;
