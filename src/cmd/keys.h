/* The topics of `holdfast keys`, one file each; arguments as for a verb, with the topic's name
 * first. */
#pragma once

int keys_exposure(int argc, char **argv);
int keys_traffic(int argc, char **argv);
int keys_resumption(int argc, char **argv);
int keys_tickets(int argc, char **argv);
