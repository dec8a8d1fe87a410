// Package smtpserver speaks the server's half of SMTP.
package smtpserver
