package policy_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/policy"
)

const benchResources = 100

// many is a policy of n mappings: fifty to a namespace, each twentieth for all
// of it, over a hundred resources.
func many(n int) []broker.Object {
	objects := make([]broker.Object, 0, n+benchResources)
	for i := range benchResources {
		objects = append(objects, broker.Object{Kind: broker.KindResource, Name: fmt.Sprintf("r%d", i), Set: "s", Body: fmt.Appendf(nil,
			`{"uri":"https://r%d.example","served_by":[],"scopes":[{"name":"read"},{"name":"write"}],"binding":"identity","proof":["mtls"],"ttl":"5m0s","freshness":"normal","alg":"ES256"}`, i)})
	}
	for i := range n {
		objects = append(objects, benchMapping(i, "read"))
	}
	return objects
}

func benchMapping(i int, scope string) broker.Object {
	from := fmt.Sprintf("spiffe://prod.example/ns/ns%d/sa/sa%d", i/50, i%50)
	if i%20 == 0 {
		from = fmt.Sprintf("spiffe://prod.example/ns/ns%d/sa/*", i/50)
	}
	return broker.Object{Kind: broker.KindMapping, Name: fmt.Sprintf("s/m%d", i), Set: "s", Revision: broker.Revision(i), Body: fmt.Appendf(nil,
		`{"effect":"allow","from":[%q],"to":["r%d"],"scopes":[%q]}`, from, i%benchResources, scope)}
}

// benchQuestions are workloads with a resource that a mapping gives them.
func benchQuestions(s *policy.Snapshot, n int) []broker.Question {
	want, _ := oauth.NewScopes("read")
	questions := make([]broker.Question, 4096)
	for i := range questions {
		k := i * 7919 % n
		w := broker.Workload{ID: spiffeid.RequireFromString(fmt.Sprintf("spiffe://prod.example/ns/ns%d/sa/sa%d", k/50, k%50)), Proof: broker.ProofMTLS, NotAfter: now.Add(time.Hour)}
		request := broker.ExchangeRequest{Grant: oauth.GrantClientCredentials, Audience: fmt.Sprintf("https://r%d.example", k%benchResources), Scopes: want}
		questions[i] = broker.Question{Now: now, View: s, Limits: broker.DefaultLimits(), Workload: w, Request: request}
	}
	return questions
}

func benchSizes(b *testing.B, run func(b *testing.B, s *policy.Snapshot, n int)) {
	b.Helper()
	for _, n := range []int{10, 1_000, 100_000, 1_000_000} {
		s, findings := policy.Compile(many(n), 1, options)
		if len(findings) > 0 {
			b.Fatal(findings[0])
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) { run(b, s, n) })
	}
}

// BenchmarkFind finds the mappings of a workload for a resource.
func BenchmarkFind(b *testing.B) {
	benchSizes(b, func(b *testing.B, s *policy.Snapshot, n int) {
		questions := benchQuestions(s, n)
		resources := make([]*broker.Resource, len(questions))
		for i := range questions {
			resources[i], _ = s.Resource(questions[i].Request.Audience)
		}
		var dst []broker.Candidate
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if dst = s.Find(dst[:0], questions[i%len(questions)].Workload.ID, resources[i%len(questions)]); len(dst) == 0 {
				b.Fatal("nothing found")
			}
		}
	})
}

// BenchmarkDecide is a whole decision: resource, mappings, attenuation, checks.
func BenchmarkDecide(b *testing.B) {
	benchSizes(b, func(b *testing.B, s *policy.Snapshot, n int) {
		questions := benchQuestions(s, n)
		var dst []broker.Candidate
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			q := questions[i%len(questions)]
			q.Resource, _ = s.Resource(q.Request.Audience)
			dst = s.Find(dst[:0], q.Workload.ID, q.Resource)
			q.Candidates = dst
			if d := broker.Decide(&q, nil); !d.Allowed {
				b.Fatal(d.Reason)
			}
		}
	})
}

// BenchmarkApply changes one mapping.
func BenchmarkApply(b *testing.B) {
	benchSizes(b, func(b *testing.B, s *policy.Snapshot, n int) {
		scopes := []string{"read", "write"}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			s, _ = s.Apply([]broker.Object{benchMapping(i*7919%n, scopes[i%2])}, broker.Revision(i))
		}
	})
}

// BenchmarkCompile builds a snapshot and says what it holds of memory, all in.
func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{10, 1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var before, after runtime.MemStats
			var s *policy.Snapshot
			for b.Loop() {
				b.StopTimer()
				s = nil //nolint:ineffassign // so that the collector takes it
				runtime.GC()
				runtime.ReadMemStats(&before)
				objects := many(n)
				b.StartTimer()
				s, _ = policy.Compile(objects, 1, options)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "B/mapping")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/mapping")
			runtime.KeepAlive(s)
		})
	}
}
