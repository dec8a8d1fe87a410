// Package node is the node's own configuration: postern.yaml, the environment
// and the command line, read strictly, checked whole, and handed to the
// composition root as one Config. What belongs to tenants is package tenant's.
//
// # Promises
//
//   - Every setting is one leaf with a path (limits.content), documented by the
//     tags of its struct field; the reference docs/postern.yaml.md is written
//     from them, and a test keeps it fresh.
//   - A leaf's value is that of the strongest source that names it:
//     default < postern.yaml < environment < command line. Lists are replaced,
//     never merged. Load says where each value comes from.
//   - All problems are named in one pass, those of the file with line and
//     column, those of the environment and the command line by variable and
//     flag. Nothing listens before the Config is valid.
//   - Sizes and durations carry units ("50MiB", "5m"); a plain number there is
//     a problem.
//
// # Names
//
//	leaf            limits.deadlines.command
//	postern.yaml    limits: {deadlines: {command: 5m}}
//	environment     POSTERN_LIMITS_DEADLINES_COMMAND=5m
//	command line    --set limits.deadlines.command=5m
//
// In the environment and on the command line a list is written with commas,
// and "none" is the empty list. An empty variable counts as not set. A
// POSTERN_ variable that names no leaf is a warning, not a problem, because
// schedulers make such variables for services (POSTERN_PORT).
//
// # Never
//
// It opens no listener and no database, makes no directory, and reads no
// tenants.
package node
