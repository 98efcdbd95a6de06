package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/server"
	"github.com/cambist/cambist/store"
)

type recordsCmd struct {
	List recordsListCmd `cmd:"" default:"withargs" help:"List recorded decisions, newest first."`
	Show recordsShowCmd `cmd:"" help:"Print one record whole, with its place in the chain, as JSON."`
}

type recordsListCmd struct {
	offlineFlags
	Since    time.Duration `help:"How far back to look; 0 means all." default:"24h"`
	Workload string        `help:"Only of this workload (SPIFFE ID)." placeholder:"ID"`
	Resource string        `help:"Only for this resource (name)." placeholder:"NAME"`
	Outcome  string        `help:"Only with this outcome: allowed, refused, or a reason." placeholder:"OUTCOME"`
	Limit    int           `help:"How many at most; up to 1000." default:"50"`
	Before   string        `help:"Only older than the record with this id: the last one of the page before." placeholder:"ID"`
	Output   string        `short:"o" help:"table or json (one record a line, its whole body)." default:"table" enum:"table,json"`
}

// Run lists records.
func (c *recordsListCmd) Run(a *app) error {
	if c.Limit < 1 || c.Limit > 1000 {
		return fmt.Errorf("--limit must be from 1 to 1000")
	}
	return c.with(a, func(offline *server.Offline) error {
		filter := store.RecordFilter{Workload: c.Workload, Resource: c.Resource, Outcome: c.Outcome, Limit: c.Limit}
		if c.Since > 0 {
			filter.Since = time.Now().Add(-c.Since)
		}
		rows, err := offline.Records(a.ctx, filter, c.Before)
		if err != nil {
			return err
		}
		if c.Output == "json" {
			for i := range rows {
				fmt.Fprintf(a.stdout, "%s\n", rows[i].Body)
			}
			return nil
		}
		table := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
		fmt.Fprintln(table, "AT\tID\tOUTCOME\tWORKLOAD\tRESOURCE")
		for i := range rows {
			r := &rows[i]
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", r.At.UTC().Format(time.RFC3339), r.ID, r.Outcome, r.Workload, r.Resource)
		}
		if err := table.Flush(); err != nil {
			return err
		}
		if len(rows) == c.Limit {
			fmt.Fprintf(a.stderr, "there may be more: --before %s\n", rows[len(rows)-1].ID)
		}
		return nil
	})
}

type recordsShowCmd struct {
	ID string `arg:"" help:"Id of the record: x-request-id of the answer, or the jti of a token."`
	offlineFlags
}

// Run prints one record.
func (c *recordsShowCmd) Run(a *app) error {
	return c.with(a, func(offline *server.Offline) error {
		row, err := offline.Record(a.ctx, c.ID)
		if err != nil {
			return err
		}
		return printJSON(a.stdout, struct {
			Replica string          `json:"replica"`
			Segment string          `json:"segment"`
			Row     int64           `json:"row"`
			Prev    string          `json:"prev"`
			Hash    string          `json:"hash"`
			Sealed  int             `json:"sealed_bytes"` // what it read of the user, encrypted
			Body    json.RawMessage `json:"body"`
		}{row.Replica, row.Segment, row.Seq, hex.EncodeToString(row.Prev), hex.EncodeToString(row.Hash), len(row.Facts), row.Body})
	})
}

type blockCmd struct {
	Target string `arg:"" help:"What to stop: workload, subject, issuer, key, mapping or token." enum:"workload,subject,issuer,key,mapping,token"`
	ID     string `arg:"" help:"SPIFFE ID, sub, issuer URL, kid, set/rule, or jti."`
	offlineFlags
	Reason    string    `required:"" help:"Why; stands in the history and the record." placeholder:"TEXT"`
	Name      string    `help:"Name of the block, to lift it by; made up if empty." placeholder:"NAME"`
	Until     time.Time `help:"When it ends by itself (RFC 3339)." placeholder:"TIME"`
	NotBefore time.Time `help:"Stop only what was issued before (RFC 3339)." placeholder:"TIME"`
}

// Run sets a block.
func (c *blockCmd) Run(a *app) error {
	return c.with(a, func(offline *server.Offline) error {
		b := broker.Block{Name: c.Name, Target: broker.BlockTarget(c.Target), ID: c.ID, Reason: c.Reason, Until: c.Until, NotBefore: c.NotBefore}
		done, err := offline.Block(a.ctx, b)
		if err != nil {
			return err
		}
		printBlock(a, done, "set")
		return nil
	})
}

type unblockCmd struct {
	Name string `arg:"" help:"Name of the block."`
	offlineFlags
	Reason string `required:"" help:"Why; stands in the history and the record." placeholder:"TEXT"`
}

// Run lifts a block.
func (c *unblockCmd) Run(a *app) error {
	return c.with(a, func(offline *server.Offline) error {
		done, err := offline.Unblock(a.ctx, c.Name, c.Reason)
		if err != nil {
			return err
		}
		printBlock(a, done, "lifted")
		return nil
	})
}

func printBlock(a *app, done server.BlockResult, what string) {
	fmt.Fprintf(a.stdout, "block %s %s at revision %d; each replica follows within about a second, or stops when its lease ends (60 s)\n", done.Name, what, done.Revision)
}
