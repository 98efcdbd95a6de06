package telemetry

import (
	"context"

	"github.com/cambist/cambist/broker"
)

// Inspector is what a token API asks about tokens that were issued.
type Inspector interface {
	Introspect(ctx context.Context, w broker.Workload, r broker.ExchangeRequest) (broker.Introspection, error)
	Revoke(ctx context.Context, w broker.Workload, r broker.ExchangeRequest) (revoked bool, err error)
}

// Inspector returns next, counted.
func (m *Metrics) Inspector(next Inspector) Inspector { return inspector{next, m} }

type inspector struct {
	next Inspector
	m    *Metrics
}

// Introspect introspects and counts what came of it.
func (i inspector) Introspect(ctx context.Context, w broker.Workload, r broker.ExchangeRequest) (broker.Introspection, error) {
	found, err := i.next.Introspect(ctx, w, r)
	result, reason := "active", found.Reason
	switch {
	case err != nil:
		result, reason = "failed", broker.AsError(err).Reason
	case found.Token == nil:
		result = "inactive"
	}
	i.m.inspected.WithLabelValues(result, string(reason)).Inc()
	return found, err
}

// Revoke revokes and counts what came of it.
func (i inspector) Revoke(ctx context.Context, w broker.Workload, r broker.ExchangeRequest) (revoked bool, err error) {
	revoked, err = i.next.Revoke(ctx, w, r)
	result, reason := "ignored", broker.Reason("")
	switch {
	case err != nil:
		result, reason = "failed", broker.AsError(err).Reason
	case revoked:
		result = "revoked"
	}
	i.m.revoked.WithLabelValues(result, string(reason)).Inc()
	return revoked, err
}
