package drill

// The node files of the parts. Every value that differs from a node's default
// is there so that what takes hours at a customer's takes seconds here.
const (
	quickRetry    = ``
	smallSegments = ``
	smallDisk     = ``
)
