//! The end of a child.

use std::task::{Context, Poll};

use tidewaiter::process::{ExitStatus, Usage};

use crate::waiting::Watched;

/// How a child ended, once it has.
#[derive(Clone, Copy)]
pub(crate) struct End {
    pub(crate) status: ExitStatus,
    pub(crate) usage: Option<Usage>,
}

/// Where the end of a child is told.
#[derive(Default)]
pub(crate) struct Exit(Watched<Option<End>>);

impl Exit {
    pub(crate) fn tell(&self, end: End) {
        self.0.change(|told| *told = Some(end));
    }

    pub(crate) fn get(&self) -> Option<End> {
        self.0.look(|told| *told)
    }

    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<End> {
        self.0.poll(context, |told| *told)
    }

    pub(crate) fn wait(&self) -> End {
        self.0.wait(|told| *told)
    }
}
