//! Either process is killed, or the link cut, in each phase of a move under load: exactly one side serves afterwards, and
//! everything that a client was told is durable is there.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ferry_tests::faulty_move::{Owner, Side, run};

macro_rules! faults {
    ($($name:ident: $side:ident $place:literal => $owner:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let owner = run(Side::$side, $place).await.unwrap();
            assert!($owner.contains(&owner), "{owner:?} serves");
        }
    )*};
}

/// Before the edge a move that broke may be given up or go on.
const ANY: [Owner; 2] = [Owner::Source, Owner::Destination];
/// After it there is only forward.
const MOVED: [Owner; 1] = [Owner::Destination];

faults! {
    source_dies_in_setup: Source "source.setup.setup:exit" => ANY;
    source_dies_in_baseline: Source "source.baseline.blocks:exit" => ANY;
    source_dies_in_update: Source "source.update.blocks:exit" => ANY;
    source_dies_throttling: Source "source.admin_cutover.set_write_limit:exit" => ANY;
    source_dies_frozen: Source "source.cutover.transfer:exit" => ANY;
    source_dies_before_the_edge: Source "source.activate.relinquish:exit" => ANY;
    source_dies_after_the_edge: Source "source.activate.activate:exit" => MOVED;
    destination_dies_in_setup: Destination "destination.setup.prepare:exit" => ANY;
    destination_dies_in_baseline: Destination "destination.baseline.blocks:exit" => ANY;
    destination_dies_in_admin_cutover: Destination "destination.admin_cutover.blocks:exit" => ANY;
    destination_dies_in_cutover: Destination "destination.cutover.apply:exit" => ANY;
    destination_dies_before_it_activates: Destination "destination.activate.activate:exit" => MOVED;
    destination_dies_after_it_activated: Destination "destination.completed.activated:exit" => MOVED;
    destination_dies_in_update: Destination "destination.update.blocks:exit" => ANY;
    link_cut_in_baseline: Source "source.baseline.blocks:cut" => ANY;
    link_cut_in_update: Source "source.update.blocks:cut" => ANY;
    link_cut_in_admin_cutover: Source "source.admin_cutover.blocks:cut" => ANY;
    link_cut_in_cutover: Source "source.cutover.blocks:cut" => ANY;
    link_cut_at_the_edge: Source "source.activate.activate:cut" => MOVED;
}
