//! The screen: what runs now, which statements take the time, who is connected, what fails; and the messages of each session.
//!
//! The thread that dissects adds records to the [`Model`], which counts and keeps what a screen can show. The thread of the screen asks
//! the model for rows, and sorts, filters and draws them on its own time: so a slow terminal drops frames, and never packets.

pub(crate) mod view;
