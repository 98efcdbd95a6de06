// Package fleet keeps a replica in step with the policy that the store holds, and
// says for how long what it serves may be believed.
//
// A replica asks once a second, by a write on the primary that also tells the fleet
// that it is there; the answer is the revision. A notification only makes it ask
// sooner. The lease on what is served starts before the latest question whose answer
// was no newer than what is served, on a clock that a suspended machine and a
// changed date cannot fool: whoever changes policy knows that after one lease no
// replica serves what was before.
//
// # What stops a lease from being extended
//
// Policy stays in memory whatever happens; what runs out is the leave to use it.
//
//   - The store does not answer, or what it answers cannot be loaded.
//   - A server writes an older timeline than one that was seen: it was demoted.
//   - The clock of this machine differs by more than a second from the store's. This
//     takes the lease away at once, because every token bears a time; it comes back
//     by itself.
//   - Another primary turned up beside the one that answered. This too takes the
//     lease away at once: what was confirmed meanwhile may not hold.
//   - policy_regressed: revisions that were applied are gone from the store, by a
//     restore or by a failover that lost commits. They may have been denials, so an
//     older policy is never taken up by itself. The replica goes on only if the very
//     history that it applied turns up again. Otherwise an operator decides, by
//     writing anew what was lost and restarting the replica, which then believes
//     what is there.
package fleet
