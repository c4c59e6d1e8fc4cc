package taskmanager

// A job whose ingresses are all bounded ends by itself. Each task says at its seal whether its ingresses are done and
// nothing waits in it; when every task says so of one epoch, nothing is left in the job, for a snapshot is a consistent
// cut and to have no work and nothing in flight is a stable property (Chandy and Lamport, 1985, section 4).

// ingressesDone says that the job has ingresses, and this task has taken everything of them.
func (t *task) ingressesDone() bool {
	for i := range t.ingresses {
		if !t.ingresses[i].source.Done() {
			return false
		}
	}
	return len(t.ingresses) > 0
}

// noticeEnd makes an epoch of the moment from which the ingresses are done: it may bring no record, and without an epoch
// nobody would learn of it.
func (t *task) noticeEnd() {
	if !t.done && t.ingressesDone() {
		t.done = true
		t.changed()
	}
}

// idle says that nothing of the task waits to be done: its ingresses have ended, and no message is in the snapshot.
func (s *snapshot) idle() bool {
	return s.done && len(s.mailbox) == 0 && len(s.recorded) == 0 && len(s.queued) == 0
}

// idle says that no task of this worker has anything left to do.
func (e *epoch) idle() bool {
	for _, s := range e.snapshots {
		if !s.idle() {
			return false
		}
	}
	return true
}
