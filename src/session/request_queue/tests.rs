use super::*;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_nanos(micros * 1_000, Default::default())
}

/// A queue, and a clock that goes on with every message.
struct Exchange {
    request_queue: RequestQueue<()>,
    now: i64,
}

impl Exchange {
    fn new() -> Self {
        Self { request_queue: RequestQueue::default(), now: 0 }
    }

    /// Sends requests, and returns their numbers.
    fn send(&mut self, requests: &[Request]) -> Vec<Option<u64>> {
        let mut numbers = Vec::new();
        for request in requests {
            self.now += 1;
            numbers.push(self.request_queue.request(*request, at(self.now), &mut |_, _| {}).0);
        }
        numbers
    }

    /// Sends replies, by their tags, and returns the numbers of what they belong to.
    fn replies(&mut self, tags: &[u8]) -> Vec<Option<u64>> {
        let mut numbers = Vec::new();
        for tag in tags {
            self.now += 1;
            numbers.push(self.request_queue.reply(*tag, Answers::ANY, at(self.now), &mut |_, _| {}).query);
        }
        numbers
    }
}

use Request as R;

#[test]
fn a_pipeline_is_answered_in_order() {
    let mut exchange = Exchange::new();
    let steps = [R::Parse, R::Bind, R::DescribePortal, R::Execute];
    assert_eq!(exchange.send(&steps), [Some(1); 4]);
    assert_eq!(exchange.send(&steps), [Some(2); 4]);
    assert_eq!(exchange.send(&[R::Sync]), [Some(2)]);
    assert_eq!(exchange.send(&[R::Query]), [Some(3)]);
    assert_eq!(exchange.replies(b"12TDDC"), [Some(1); 6]);
    assert_eq!(exchange.replies(b"12nC"), [Some(2); 4]);
    assert_eq!(exchange.replies(b"Z"), [Some(2)]);
    assert_eq!(exchange.replies(b"TDCTDCZ"), [Some(3); 7]);
    assert!(exchange.request_queue.queue.is_empty());
}

#[test]
fn requests_that_come_together_are_as_if_they_came_one_by_one() {
    let steps = [R::Bind, R::DescribePortal, R::Execute, R::Sync];
    let tags = b"2TDCZ";
    for are_parted in [false, true] {
        let (mut one_by_one, mut together) = (Exchange::new(), Exchange::new());
        for _ in 0..2 {
            one_by_one.send(&steps);
            assert!(together.request_queue.is_idle());
            let numbers = together.request_queue.together(&steps);
            together.now = one_by_one.now;
            if are_parted {
                together.request_queue.put(&steps, numbers, at(together.now), |_| ((), Answers::ANY));
                assert!(!together.request_queue.is_idle());
                assert_eq!(together.replies(tags), one_by_one.replies(tags));
            } else {
                assert_eq!(one_by_one.replies(tags), [Some(numbers.0); 5]);
                together.request_queue.answered();
            }
        }
        together.now = one_by_one.now;
        assert_eq!(together.send(&[R::Query]), one_by_one.send(&[R::Query]));
        assert_eq!(format!("{:?}", together.request_queue), format!("{:?}", one_by_one.request_queue));
    }
}

#[test]
fn after_an_error_everything_up_to_the_sync_has_no_answer() {
    let mut exchange = Exchange::new();
    let steps = [R::Parse, R::Bind, R::Execute];
    exchange.send(&steps);
    exchange.send(&steps);
    exchange.send(&[R::Query, R::Sync]);
    assert_eq!(exchange.send(&steps), [Some(4); 3]);
    exchange.send(&[R::Sync]);
    assert_eq!(exchange.replies(b"12E"), [Some(1); 3], "the error is the first execution's");
    assert_eq!(exchange.replies(b"Z"), [None], "the Sync behind a Query is of no query");
    assert_eq!(exchange.replies(b"12CZ"), [Some(4); 4], "what is behind the Sync is answered");
    assert!(exchange.request_queue.queue.is_empty());
}

#[test]
fn what_is_sent_after_an_error_and_before_its_sync_has_no_answer() {
    let mut exchange = Exchange::new();
    exchange.send(&[R::Parse]);
    assert_eq!(exchange.replies(b"E"), [Some(1)]);
    exchange.send(&[R::Bind, R::Execute, R::Sync]);
    exchange.send(&[R::Query]);
    assert_eq!(exchange.replies(b"Z"), [Some(1)]);
    assert_eq!(exchange.replies(b"CZ"), [Some(2); 2]);
}

#[test]
fn an_error_in_a_simple_query_ends_nothing_but_it() {
    let mut exchange = Exchange::new();
    exchange.send(&[R::Query, R::Query]);
    assert_eq!(exchange.replies(b"TDCEZ"), [Some(1); 5]);
    assert_eq!(exchange.replies(b"CZ"), [Some(2); 2]);
}

#[test]
fn a_sync_before_the_data_of_a_copy_is_ignored_and_the_one_behind_it_is_answered() {
    let mut exchange = Exchange::new();
    assert_eq!(exchange.send(&[R::Parse, R::Bind, R::DescribePortal, R::Execute, R::Sync]), [Some(1); 5]);
    assert_eq!(exchange.replies(b"12nG"), [Some(1); 4]);
    assert_eq!(exchange.send(&[R::Sync]), [Some(1)], "one in the midst of the data");
    assert_eq!(exchange.send(&[R::CopyEnd, R::Sync]), [Some(1); 2]);
    assert_eq!(exchange.send(&[R::Query]), [Some(2)]);
    assert_eq!(exchange.replies(b"CZ"), [Some(1); 2]);
    assert_eq!(exchange.replies(b"CZ"), [Some(2); 2]);
    assert!(exchange.request_queue.queue.is_empty());
}

#[test]
fn a_copy_that_fails_skips_to_the_sync_behind_its_data() {
    let mut exchange = Exchange::new();
    exchange.send(&[R::Parse, R::Bind, R::Execute, R::Sync]);
    exchange.replies(b"12G");
    exchange.request_queue.copy_data();
    assert_eq!(exchange.replies(b"E"), [Some(1)], "a row was refused");
    assert_eq!(exchange.send(&[R::CopyEnd, R::Sync]), [Some(1); 2]);
    assert_eq!(exchange.replies(b"Z"), [Some(1)]);
    exchange.send(&[R::Query]);
    assert_eq!(exchange.replies(b"CZ"), [Some(2); 2]);
}

#[test]
fn replies_are_timed_from_their_own_request() {
    let mut exchange = Exchange::new();
    exchange.send(&[R::Parse, R::Bind]);
    exchange.now = 100;
    assert_eq!(exchange.request_queue.reply(b'1', Answers::ANY, at(100), &mut |_, _| {}).elapsed_us, Some(99));
    assert_eq!(exchange.request_queue.reply(b'2', Answers::ANY, at(100), &mut |_, _| {}).elapsed_us, Some(98));
    assert_eq!(
        exchange.request_queue.reply(b'N', Answers::ANY, at(100), &mut |_, _| {}).elapsed_us,
        None,
        "a notice answers nothing"
    );
}

#[test]
fn notifications_belong_to_no_query() {
    let mut exchange = Exchange::new();
    exchange.send(&[R::Query]);
    assert_eq!(exchange.replies(b"AN"), [None, Some(1)]);
}

#[test]
fn nothing_is_attributed_after_a_loss_until_everything_is_answered() {
    let mut exchange = Exchange::new();
    exchange.send(&[R::Query]);
    exchange.request_queue.lose(false);
    assert_eq!(exchange.replies(b"DCZ"), [None; 3]);
    exchange.send(&[R::Query]);
    assert_eq!(exchange.replies(b"CZ"), [Some(2); 2]);
}

#[test]
fn a_client_that_takes_turns_has_had_the_answers_that_were_lost() {
    let mut exchange = Exchange::new();
    exchange.send(&[R::Query]);
    exchange.replies(b"TDCZ");
    exchange.send(&[R::Query]);
    exchange.request_queue.lose(false);
    assert_eq!(exchange.send(&[R::Parse, R::Bind, R::Execute, R::Sync]), [Some(3); 4]);
    assert_eq!(exchange.replies(b"12CZ"), [Some(3); 4]);
}

#[test]
fn a_client_that_pipelines_may_still_wait_for_them() {
    let mut exchange = Exchange::new();
    exchange.send(&[R::Query, R::Query]);
    exchange.replies(b"CZ");
    exchange.request_queue.lose(false);
    exchange.send(&[R::Query]);
    assert_eq!(exchange.replies(b"CZ"), [None, None], "it may be the second one's answer");
}

#[test]
fn a_pipeline_that_never_ends_is_bounded() {
    let mut exchange = Exchange::new();
    for _ in 0..2 * MAX_PENDING {
        exchange.send(&[R::Parse]);
    }
    assert!(exchange.request_queue.queue.len() <= MAX_PENDING);
}

#[test]
fn where_only_requests_were_lost_the_answers_are_still_to_come() {
    let mut exchange = Exchange::new();
    exchange.send(&[R::Query]);
    exchange.replies(b"TDCZ");
    exchange.send(&[R::Query]);
    exchange.request_queue.lose(true);
    exchange.send(&[R::Parse, R::Bind, R::Execute, R::Sync]);
    assert_eq!(exchange.replies(b"EZ"), [None, None], "they are the first one's");
}

#[test]
fn what_answers_requests_that_were_given_up_is_not_attributed_and_what_comes_after_it_is() {
    let mut exchange = Exchange::new();
    exchange.send(&[R::Query, R::Query, R::Parse, R::Bind]);
    exchange.request_queue.give_up(&mut |_, _| {});
    assert_eq!(exchange.request_queue.held(), 0);
    exchange.send(&[R::Execute, R::Sync, R::Query]);
    assert_eq!(exchange.replies(b"DCZDCZ12DCZ"), [None; 11]);
    exchange.send(&[R::Parse]);
    assert_eq!(exchange.replies(b"DCZ"), [None; 3], "that of the last query");
    assert_eq!(exchange.send(&[R::Bind, R::Execute, R::Sync]).len(), 3);
    exchange.replies(b"2CZ");
    let number = exchange.send(&[R::Query]);
    assert_eq!(exchange.replies(b"CZ"), [number[0]; 2]);
}
