/* The seam between Lua and Rust. Errors are raised here only, from frames of C: no jump passes over a frame of Rust. */

#ifndef rubine_h
#define rubine_h

#include "lua.h"

/* What a function in Rust returns: how many results it has pushed, or one of these, with the argument's number beside
** it in `rubine_argument`. */
#define RUBINE_RAISE		(-1)	/* raise the value on top */
#define RUBINE_ERROR		(-2)	/* raise the text on top, with the place in the script */
#define RUBINE_ARGUMENT		(-3)	/* a bad argument; the text on top says why */

/* Written in Rust. */
int rubine_dispatch (lua_State *L, const void *function);
int rubine_argument (lua_State *L);
int rubine_tick (lua_State *L, int is_line);
int rubine_is_stopping (lua_State *L);
void rubine_worked (lua_State *L, size_t bytes);

/* Written in C. */
void rubine_push_function (lua_State *L, const void *function);
void rubine_open (lua_State *L);
void rubine_poll (lua_State *L);
void rubine_watch (lua_State *L, int count, int lines);
void rubine_set_arguments (lua_State *L);
int rubine_error_handler (lua_State *L);
int rubine_pcall (lua_State *L);
int rubine_format_double (char *buffer, size_t size, int precision, double value);
double rubine_parse_double (const char *text, size_t *length);
int rubine_frame (lua_State *L, int level, char *name, size_t size, int *line);
const char *rubine_local (lua_State *L, int level, int n);

#endif
