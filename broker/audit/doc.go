// Package audit is the durable record: it turns decisions into rows of a hash
// chain and commits them in groups, before anything is signed.
//
// Each replica writes its own chain, cut into segments. The hash of a row covers
// every column of it and the hash of the row before, so Verify finds a row that
// was changed, dropped or put in. When it is not known whether a commit happened
// the recorder refuses everybody who waited and goes on in a new segment, which
// continues from the last row known to be there: it never retries in place,
// because then a row could stand there twice, or be promised and missing.
//
// A body is canonical JSON of the members of Entry. It says everything that an
// auditor asks and a replay needs, except what a user's token said of the user:
// those claims lie sealed beside it. No token is ever in it, whole or in part.
package audit
