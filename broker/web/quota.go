package web

import (
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/time/rate"
)

// quotaWorkloads is how many workloads are remembered; the one that was seen
// longest ago is forgotten, and begins with a full bucket again.
const quotaWorkloads = 100_000

// Quota is a token bucket for each workload, so that none can starve the others.
type Quota struct {
	rate    rate.Limit
	burst   int
	buckets *otter.Cache[spiffeid.ID, *rate.Limiter]
}

// NewQuota returns a quota of so many requests a second, and at once, for each
// workload. A rate of 0 means no limit.
func NewQuota(perSecond float64, burst int) *Quota {
	if perSecond <= 0 {
		return &Quota{}
	}
	return &Quota{rate: rate.Limit(perSecond), burst: burst, buckets: otter.Must(&otter.Options[spiffeid.ID, *rate.Limiter]{
		MaximumSize: quotaWorkloads, InitialCapacity: 1024,
	})}
}

// Take takes one request out of the workload's bucket. ok is false if it is
// empty; then after says when the next one is there.
func (q *Quota) Take(w spiffeid.ID, now time.Time) (after time.Duration, ok bool) {
	if q.buckets == nil {
		return 0, true
	}
	bucket, found := q.buckets.GetIfPresent(w)
	if !found {
		bucket, _ = q.buckets.SetIfAbsent(w, rate.NewLimiter(q.rate, q.burst))
	}
	if bucket.AllowN(now, 1) {
		return 0, true
	}
	return time.Duration(float64(time.Second) / float64(q.rate)), false
}
