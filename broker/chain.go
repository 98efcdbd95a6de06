package broker

// maxChainBytes bounds the names in a chain, so that no chain of few but long
// names can fill a token.
const maxChainBytes = 4 << 10

// nextChain returns the act of the token to issue (RFC 8693 section 4.1): the
// workload on top of the chain that it received. Equal neighbours collapse, so
// a workload that narrows its own token does not grow the chain, and a workload
// never acts for itself.
func nextChain(w *Workload, s *Subject) *Actor {
	id := w.ID.String()
	if s.Actor != nil {
		if s.Actor.Issuer == "" && s.Actor.Subject == id {
			return s.Actor
		}
	} else if s.Kind == SubjectWorkload && s.Sub == id {
		return nil
	}
	return &Actor{Party: Party{Subject: id}, Actor: s.Actor}
}

// chainLoops reports whether a party stands in the chain twice, the subject
// included: a call that comes back to where it was. The chain is at most
// ChainDepth long by the time it matters, so the square is small.
func chainLoops(a *Actor, s *Subject) bool {
	for ; a != nil; a = a.Actor {
		if s.Kind == SubjectWorkload && a.Issuer == "" && a.Subject == s.Sub {
			return true
		}
		for b := a.Actor; b != nil; b = b.Actor {
			if a.Party == b.Party {
				return true
			}
		}
	}
	return false
}

func chainBytes(a *Actor) int {
	n := 0
	for ; a != nil; a = a.Actor {
		n += len(a.Subject) + len(a.Issuer)
	}
	return n
}
