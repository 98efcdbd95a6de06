package broker

// CheckReasons returns the reasons of the check table in order, so that tests
// can demand a case for every one of them.
func CheckReasons() []Reason {
	reasons := make([]Reason, len(checks))
	for i := range checks {
		reasons[i] = checks[i].reason
	}
	return reasons
}

// ProvenReceipt makes a receipt without a ledger, which no other code can.
func ProvenReceipt(u Unsigned, at Position) Receipt { return Receipt{unsigned: u, at: at} }
