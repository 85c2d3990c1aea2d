//! temp
use super::Waker;
/// temp
#[derive(Debug, Clone, Copy)]
pub struct ShutdownSignal;
impl std::fmt::Display for ShutdownSignal { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("temp") } }
pub(crate) struct SignalWatch;
impl SignalWatch { pub(crate) fn install(_w: Waker) -> std::io::Result<SignalWatch> { Ok(SignalWatch) } pub(crate) fn take(&self) -> Option<ShutdownSignal> { None } }
