package dpop

// Normal is how URLs are compared.
var Normal = normal

// Len returns how many proofs are remembered, counted one by one.
func (r *Replays) Len() (counted, said int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, set := range r.sets {
		counted += len(set)
	}
	return counted, r.n
}
