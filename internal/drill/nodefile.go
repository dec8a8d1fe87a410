package drill

// The node files of the parts. Every value that differs from a node's default
// is there so that what takes hours at a customer's takes seconds here.
const (
	quickRetry = `queue:
  backoff: [1s]
  site_backoff: [1s]
`
	smallSegments = quickRetry + `spool:
  segment: 1MiB
  inline_max: 256KiB
  min_free: 1MiB
  ballast: 1MiB
  checkpoint_every: 1s
  checkpoint_octets: 1MiB
  copy_forward_after: 1s
`
	smallDisk = quickRetry + `spool:
  segment: 4MiB
  inline_max: 256KiB
  min_free: 6MiB
  min_free_inodes: 10
  ballast: 4MiB
  event_log_max: 16MiB
  checkpoint_every: 1s
  checkpoint_octets: 4MiB
`
	abuseFile = quickRetry + `limits:
  connections_per_network: 2000
`
)
