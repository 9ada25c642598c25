/* What clients of a listener are judged by, from files that somebody else writes: opened by the
 * supervisor, watched through it, checked, numbered, and sent to every handshaker. A new state of
 * the files is taken whole or not at all; while it is bad, the one in force stays, and that is said
 * until it is mended. Part of the vault. */
#pragma once

#include "vault/lineage.h"

struct trust_watch;

/* Begins those of listeners that have none yet; each counts as vault->loading until it was read. */
void trust_watch_start(struct vault *vault);
/* vault->conf is about to become `next`: what says the same goes on, all else ends. */
void trust_watch_reload(struct vault *vault, const struct conf *next);
/* Sends all that is in force to one handshaker. */
void trust_watch_greet(struct vault *vault, unsigned handshaker);
/* Something happened in the directory of this watch (-1: anywhere). False: it is none of ours. */
bool trust_watch_event(struct vault *vault, int watch);
void trust_watch_fini(struct vault *vault);
