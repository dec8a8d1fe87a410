package main

import (
	"time"

	"github.com/postern-mail/postern/internal/control"
)

func sampleMessage() *control.Message {
	attempt := &control.Attempt{
		Time: at(-59 * time.Minute), DurationMS: 12.7, NextHop: "mx:partner.test", Host: "mx1.partner.test", Peer: "192.0.2.25:25",
		TLS: "TLS1.3 TLS_AES_128_GCM_SHA256", Cause: "peer-rcpt-4xx", Code: 451,
		Reply: []string{"4.7.1 Greylisted, come back later; see https://partner.test/why for the  long  story", "4.7.1 thank you"},
	}
	return &control.Message{
		ID: "01ARYZ6S41TSV4RRFFQ69G5FAV", Tenant: "acme", Region: "eu", Kind: "submitted", Reverse: "alice@example.test", Size: 123456, Hops: 1, EnvID: "QQ314159",
		Arrival: &control.Arrival{
			Time: at(-time.Hour), Client: "[2001:db8::17]:40123", Server: "127.0.0.1:2587", Listener: "submission",
			Hello: "laptop.example.test", Protocol: "ESMTPSA", TLS: "TLS1.3 TLS_AES_128_GCM_SHA256", User: "alice",
		},
		Recipients: []control.Recipient{
			{Path: "bob@partner.test", State: "queued", Attempts: 2, NextHop: "mx:partner.test", Cause: "peer-rcpt-4xx", NextAttempt: at(10 * time.Minute)},
			{Path: "carol@example.test", State: "delivered", Attempts: 1, NextHop: "127.0.0.1:2526", Cause: "none"},
			{Path: "dave@refuse.test", State: "bounced", Attempts: 1, NextHop: "mx:refuse.test", Cause: "peer-rcpt-5xx", Report: "01ARYZ6S41TSV4RRFFQ69G5FAW"},
		},
		Events: []control.Event{
			{Time: at(-time.Hour), What: "accepted", Forward: []string{"bob@partner.test", "carol@example.test", "dave@refuse.test"}},
			{Time: at(-59 * time.Minute), What: "deferred", State: "queued", Cause: "peer-rcpt-4xx", Forward: []string{"bob@partner.test"}, Attempt: attempt},
			{Time: at(-58 * time.Minute), What: "delivered", State: "delivered", Forward: []string{"carol@example.test"}, Attempt: &control.Attempt{
				NextHop: "127.0.0.1:2526", Peer: "127.0.0.1:2526", DurationMS: 3.2, Code: 250, Reply: []string{"2.0.0 kept"},
			}},
			{Time: at(-57 * time.Minute), What: "bounced", State: "bounced", Cause: "peer-rcpt-5xx", Forward: []string{"dave@refuse.test"}, Attempt: &control.Attempt{
				NextHop: "mx:refuse.test", Cause: "dns-null-mx", Detail: "the domain accepts no mail",
			}},
			{Time: at(13 * time.Hour), What: "held", State: "held", Cause: "operator-action", Detail: "kept back"},
		},
	}
}

func sampleMatches() control.TraceReply {
	return control.TraceReply{More: true, Matches: []control.MessageSummary{
		{
			ID: "01ARYZ6S41TSV4RRFFQ69G5FAV", Time: at(-time.Hour), Tenant: "acme", Reverse: "alice@example.test",
			Recipients: []string{"bob@partner.test", "carol@example.test", "dave@refuse.test"}, Total: 12, State: "mixed", Size: 123456,
		},
		{ID: "01ARYZ6S41TSV4RRFFQ69G5FAW", Time: at(-2 * time.Hour), Reverse: "", Recipients: []string{"alice@example.test"}, Total: 1, State: "delivered", Size: 900},
	}}
}

func sampleQueue() []control.QueueItem {
	return []control.QueueItem{
		{
			ID: "01ARYZ6S41TSV4RRFFQ69G5FAV", Tenant: "acme", Reverse: "alice@example.test",
			Recipients: []string{"a@partner.test", "b@partner.test", "c@partner.test", "d@partner.test", "e@partner.test"},
			NextHop:    "mx:partner.test", State: "waiting", Size: 123456, Arrived: at(-3 * time.Hour), NextAttempt: at(10 * time.Minute), Attempts: 5,
			Cause: "peer-rcpt-4xx", LastReply: "451 4.7.1 Greylisted, come back later; see https://partner.test/why for the long story",
		},
		{
			ID: "01ARYZ6S41TSV4RRFFQ69G5FAX", Tenant: "other", Reverse: "", Recipients: []string{"x@down.test"}, NextHop: "192.0.2.9:25",
			State: "ready", Size: 900, Arrived: at(-5 * time.Second), NextAttempt: at(-time.Second), Cause: "none",
		},
	}
}

func sampleSummary() control.QueueSummary {
	return control.QueueSummary{
		Time: noon, Messages: 12345, Waiting: 12300, Ready: 40, Active: 5, Octets: 987654321, Oldest: at(-50 * time.Hour),
		Hops: []control.HopSummary{
			{NextHop: "mx:partner.test", Waiting: 12000, Ready: 0, Active: 1, Oldest: at(-50 * time.Hour), Next: at(3 * time.Minute), Cause: "connect-timeout"},
			{
				NextHop: "mx:a-rather-long-domain-name-of-a-customer.example.org", Waiting: 300, Ready: 40, Active: 4, Oldest: at(-90 * time.Minute), Next: at(-time.Second),
				Cause: "peer-content-4xx", LastReply: "452 4.2.2 The mailbox of the person you write to is full, and nobody has looked into it for weeks",
			},
		},
	}
}

func sampleAudit(balanced bool) control.AuditReport {
	r := control.AuditReport{
		Balanced: balanced, Where: "online", Messages: 1234, Octets: 3 << 30, Seconds: 1.26, Problems: []control.AuditProblem{},
		Tenants: []control.TenantLedger{
			{Tenant: "", Generated: 2, Delivered: 2},
			{Tenant: "acme", Accepted: 1234567, Generated: 12, Delivered: 1234000, Bounced: 11, DSNSuppressed: 8, Discarded: 1, Deleted: 1, Held: 558},
		},
	}
	if !balanced {
		r.Tenants[1].Held -= 2
		r.Tenants[1].Lost = 1
		r.Problems = []control.AuditProblem{
			{
				What: "lost", ID: "01ARYZ6S41TSV4RRFFQ69G5FAV", Tenant: "acme", Path: "bob@partner.test", Where: "segment-00000012 at 8192",
				Detail: "its accept record is destroyed, the event log has it",
			},
			{What: "unbalanced", Tenant: "acme", Detail: "1 recipient is unaccounted for"},
		}
	}
	return r
}

func sampleHealth(ready bool) control.Health {
	h := control.Health{
		Ready: ready, Uptime: 7300, Revision: "0123456789abcdef0123456789abcdef",
		Checks: []control.HealthCheck{{Name: "spool", OK: true}, {Name: "listener smtp", OK: true, Detail: "127.0.0.1:2525"}},
	}
	if !ready {
		h.Checks = append(h.Checks, control.HealthCheck{Name: "disk", Detail: "12 MiB are free, 256 MiB are wanted (spool.min_free): mail is refused with 452 until there is room"})
	}
	return h
}

func sampleReload() control.ReloadReply {
	return control.ReloadReply{
		File: "data/tenants.yaml", Before: "aaaaaaaaaaaaaaaaaaaaaaaa", Revision: "bbbbbbbbbbbbbbbbbbbbbbbb", Tenants: 2, Domains: 1000, Users: 1,
		Notes: []string{"the certificate was read again; it is good until 2027-01-01"},
	}
}

func sampleInbox() control.InboxMessage {
	return control.InboxMessage{
		Number: 7, Time: at(-time.Minute), ID: "01ARYZ6S41TSV4RRFFQ69G5FAV", Reverse: "you@sender.test", Recipients: []string{"alice@example.test", "bob@example.test"},
		Subject: "test Mon, 23 Nov 2026 12:00:00 +0000", From: "You <you@sender.test>", Size: 512, TLS: "TLS1.3",
		Content: "Received: by mx.example.net\r\n\tid 01ARYZ6S41TSV4RRFFQ69G5FAV\r\nSubject: test\r\n\r\nThis is a test.\r\n",
	}
}
