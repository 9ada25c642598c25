/* libmicrohttpd as admin/http.c and the demonstration call it: `mhd->run()` is its MHD_run(). */
#pragma once

#include <microhttpd.h>

#include "base/error.h"

struct mhd_library {
    __typeof__(MHD_add_response_header) *add_response_header;
    __typeof__(MHD_create_post_processor) *create_post_processor;
    __typeof__(MHD_create_response_from_buffer) *create_response_from_buffer;
    __typeof__(MHD_destroy_post_processor) *destroy_post_processor;
    __typeof__(MHD_destroy_response) *destroy_response;
    __typeof__(MHD_get_connection_info) *get_connection_info;
    __typeof__(MHD_get_daemon_info) *get_daemon_info;
    __typeof__(MHD_get_timeout) *get_timeout;
    __typeof__(MHD_lookup_connection_value) *lookup_connection_value;
    __typeof__(MHD_post_process) *post_process;
    __typeof__(MHD_queue_response) *queue_response;
    __typeof__(MHD_resume_connection) *resume_connection;
    __typeof__(MHD_run) *run;
    __typeof__(MHD_start_daemon) *start_daemon;
    __typeof__(MHD_stop_daemon) *stop_daemon;
    __typeof__(MHD_suspend_connection) *suspend_connection;
};

/* Loads it, at the first call in the life of a process; may be tried again after a failure. */
MUST_CHECK int mhd_library_load(const struct mhd_library **ret_mhd, struct error *error);
