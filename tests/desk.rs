//! The desk under simulated time, by seed, and under real threads; each promise it keeps, and each fault of its store.

#[path = "desk/acts.rs"]
mod acts;
#[path = "desk/break_glass.rs"]
mod break_glass;
#[path = "desk/deliveries.rs"]
mod deliveries;
#[path = "desk/faults.rs"]
mod faults;
#[cfg(feature = "faults")]
#[path = "desk/killed.rs"]
mod killed;
#[cfg(feature = "faults")]
#[path = "desk/log.rs"]
mod log;
#[path = "desk/model.rs"]
mod model;
#[path = "desk/people.rs"]
mod people;
#[path = "desk/promises.rs"]
mod promises;
#[path = "desk/race.rs"]
mod race;
#[path = "desk/restart.rs"]
mod restart;
#[path = "desk/simulation.rs"]
mod simulation;
#[path = "desk/standing.rs"]
mod standing;
#[path = "desk/standing_order.rs"]
mod standing_order;
#[path = "desk/upgrade.rs"]
mod upgrade;
#[path = "desk/ways_in.rs"]
mod ways_in;
#[path = "desk/withheld.rs"]
mod withheld;
#[path = "desk/world.rs"]
mod world;
