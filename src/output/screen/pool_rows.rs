//! The columns of the list of pools behind poolers, and what is in them.

use std::cmp::Ordering;

use super::draw::pen::{Theme, line};
use super::filter::{Filter, Subject};
use super::list::{Cell, Column, Row};
use super::rows::{name, plain};
use super::view::{PoolRow, Who};
use crate::output::summary::units::{count, some_count, some_time, time};
use crate::time::Timestamp;

impl Row for PoolRow {
    type Id = (String, Option<String>, Option<String>);
    const COLUMNS: &'static [Column] = &[
        Column::text("USER", 0),
        Column::text("DATABASE", 0),
        Column::number("WAIT P95", 0),
        Column::number("MAX", 0),
        Column::number("P50", 3),
        Column::number("WAITS", 2),
        Column::number("REQUESTS", 0),
        Column::number("CLIENTS", 4),
        Column::number("CONNS", 1),
        Column::number("IDLE IN TX", 0),
        Column::number("REFUSED", 5),
        Column::number("NOT JOINED", 6),
        Column::text("POOLER", 0),
    ];
    const LAST: (u16, u16) = (9, 21);
    const TIME: usize = 3;

    fn id(&self) -> Self::Id {
        (self.0.server.clone(), self.0.database.clone(), self.0.user.clone())
    }

    fn cell(&self, column: usize, limit: usize, _: Timestamp, theme: Theme) -> Cell {
        let Self(pool) = self;
        let wait = |us: u64| Cell { text: time(us), style: theme.age(us) };
        match column {
            0 => name(&pool.user, limit),
            1 => name(&pool.database, limit),
            2 => wait(pool.waits.wait_p95_us),
            3 => wait(pool.waits.wait_max_us),
            4 => plain(time(pool.waits.wait_p50_us)),
            5 => plain(time(pool.waits.wait_us)),
            6 => plain(count(pool.requests)),
            7 => plain(count(pool.client_connections)),
            8 => plain(count(pool.server_connections)),
            9 => plain(some_time(pool.idle_in_transaction_us)),
            10 => Cell { text: some_count(pool.refused_by_pooler), style: theme.bad() },
            11 => plain(some_count(pool.unjoined_requests)),
            _ => plain(line(&pool.server, limit)),
        }
    }

    fn order(&self, other: &Self, column: usize, _: Timestamp) -> Ordering {
        let (one, two) = (&self.0, &other.0);
        let by_column = match column {
            0 => one.user.cmp(&two.user),
            1 => one.database.cmp(&two.database),
            2 => one.waits.wait_p95_us.cmp(&two.waits.wait_p95_us),
            3 => one.waits.wait_max_us.cmp(&two.waits.wait_max_us),
            4 => one.waits.wait_p50_us.cmp(&two.waits.wait_p50_us),
            5 => one.waits.wait_us.cmp(&two.waits.wait_us),
            6 => one.requests.cmp(&two.requests),
            7 => one.client_connections.cmp(&two.client_connections),
            8 => one.server_connections.cmp(&two.server_connections),
            9 => one.idle_in_transaction_us.cmp(&two.idle_in_transaction_us),
            10 => one.refused_by_pooler.cmp(&two.refused_by_pooler),
            11 => one.unjoined_requests.cmp(&two.unjoined_requests),
            _ => one.server.cmp(&two.server),
        };
        by_column.then_with(|| self.id().cmp(&other.id()))
    }

    fn matches(&self, filter: &Filter, _: Timestamp) -> bool {
        let Self(pool) = self;
        let who = Who {
            server: pool.server.clone(),
            user: pool.user.clone(),
            database: pool.database.clone(),
            ..Who::default()
        };
        filter.matches(&Subject { who: Some(&who), us: Some(pool.waits.wait_max_us), ..Subject::default() })
    }
}
