package broker

// ProvenReceipt makes a receipt without a ledger, which no other code can.
func ProvenReceipt(u Unsigned, at Position) Receipt { return Receipt{unsigned: u, at: at} }
