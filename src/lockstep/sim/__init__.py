"""The simulated world: clock, net, disk, workers, people, faults and checkers."""
