/* The seam between Lua and Rust: calls of functions in Rust, hooks, and the few things that Lua's own interface does
** by macros or structures. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lua.h"
#include "lauxlib.h"
#include "lualib.h"
#include "lgc.h"
#include "lstate.h"
#include "lstring.h"
#include "ltable.h"
#include "rubine.h"

/* Calls the function in Rust whose address is the first upvalue, and raises what it asks for. */
static int call_rust (lua_State *L) {
  int results = rubine_dispatch(L, lua_touserdata(L, lua_upvalueindex(1)));
  if (results >= 0)
    return results;
  switch (results) {
    case RUBINE_ERROR:
      return luaL_error(L, "%s", lua_tostring(L, -1));
    case RUBINE_ARGUMENT:
      return luaL_argerror(L, rubine_argument(L), lua_tostring(L, -1));
    default:
      return lua_error(L);
  }
}

/* Makes a closure of a function in Rust and the value on top, its second upvalue. */
void rubine_push_function (lua_State *L, const void *function) {
  lua_pushlightuserdata(L, (void *)function);
  lua_insert(L, -2);
  lua_pushcclosure(L, call_rust, 2);
}

static void open_library (lua_State *L, const char *name, lua_CFunction function) {
  lua_pushcfunction(L, function);
  lua_pushstring(L, name);
  lua_call(L, 1, 0);
}

/* The libraries of Lua that a script may use. */
void rubine_open (lua_State *L) {
  open_library(L, "", luaopen_base);
  open_library(L, LUA_TABLIBNAME, luaopen_table);
  open_library(L, LUA_STRLIBNAME, luaopen_string);
  open_library(L, LUA_MATHLIBNAME, luaopen_math);
}

/* Raises the value on top from between two instructions. A handler that a script has given to `xpcall' must neither run
** without hooks, since it might run for ever, nor at all when the run ends. Ours is the first value of the stack. */
static void raise_from_hook (lua_State *L) {
  L->allowhook = 1;
  if (rubine_is_stopping(L) && L->errfunc != (ptrdiff_t)sizeof(TValue))
    L->errfunc = 0;
  lua_error(L);
}

static void hook (lua_State *L, lua_Debug *ar) {
  if (rubine_tick(L, ar->event == LUA_HOOKLINE))
    raise_from_hook(L);
}

/* Has Rust asked between instructions: after every so many, or at every line. */
void rubine_watch (lua_State *L, int count, int lines) {
  int mask = (count > 0 ? LUA_MASKCOUNT : 0) | (lines ? LUA_MASKLINE : 0);
  lua_sethook(L, mask ? hook : NULL, mask, count);
}

/* For functions of C that run long without an instruction in between. */
void rubine_poll (lua_State *L) {
  luaL_checkstack(L, LUA_MINSTACK, "too many nested functions");
  if (rubine_tick(L, 0))
    raise_from_hook(L);
}

/* Makes an error a table with `err`, `source` and `line`, those of the function that called the one in C. */
int rubine_error_handler (lua_State *L) {
  lua_Debug ar;
  int is_known = lua_getstack(L, 1, &ar) && lua_getinfo(L, "Sl", &ar);
  if (is_known && strcmp(ar.what, "C") == 0)
    is_known = lua_getstack(L, 2, &ar) && lua_getinfo(L, "Sl", &ar);
  lua_settop(L, 1);
  if (!lua_istable(L, 1)) {
    lua_newtable(L);
    lua_pushliteral(L, "ERR ");
    if (lua_isstring(L, 1))
      lua_pushvalue(L, 1);
    else {
      /* what `tostring` says, but for metamethods, which must not run here */
      switch (lua_type(L, 1)) {
        case LUA_TNIL: lua_pushliteral(L, "nil"); break;
        case LUA_TBOOLEAN: lua_pushstring(L, lua_toboolean(L, 1) ? "true" : "false"); break;
        default: lua_pushfstring(L, "%s: %p", luaL_typename(L, 1), lua_topointer(L, 1)); break;
      }
    }
    lua_concat(L, 2);
    lua_setfield(L, 2, "err");
    lua_replace(L, 1);
  }
  if (is_known && !lua_isreadonly(L, 1)) {
    lua_pushliteral(L, "source");
    lua_pushstring(L, ar.source);
    lua_rawset(L, 1);
    lua_pushliteral(L, "line");
    lua_pushinteger(L, ar.currentline);
    lua_rawset(L, 1);
  }
  return 1;
}

/* `pcall` of scripts: an error that is a table with a text in `err` comes out as that text. What ends the run is not
** caught. */
int rubine_pcall (lua_State *L) {
  int status;
  luaL_checkany(L, 1);
  lua_pushboolean(L, 1);
  lua_insert(L, 1);
  status = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 0);
  if (status == 0)
    return lua_gettop(L);
  if (rubine_is_stopping(L))
    return lua_error(L);
  if (lua_istable(L, -1)) {
    lua_pushliteral(L, "err");
    lua_gettable(L, -2);
    if (lua_isstring(L, -1))
      lua_replace(L, -2);
    else
      lua_pop(L, 1);
  }
  lua_pushboolean(L, 0);
  lua_replace(L, 1);
  return 2;
}

/* As `%.14g` and its like. */
int rubine_format_double (char *buffer, size_t size, int precision, double value) {
  return snprintf(buffer, size, "%.*g", precision, value);
}

/* The number at the start of a text that ends in a zero byte. */
double rubine_parse_double (const char *text, size_t *length) {
  char *end;
  double value = strtod(text, &end);
  *length = (size_t)(end - text);
  return value;
}

/* Sets two globals, whose values are on top, in a table that is read-only for everybody else. */
void rubine_set_arguments (lua_State *L) {
  Table *globals = hvalue(gt(L));
  setobj2t(L, luaH_setstr(L, globals, luaS_newliteral(L, "KEYS")), L->top - 2);
  setobj2t(L, luaH_setstr(L, globals, luaS_newliteral(L, "ARGV")), L->top - 1);
  luaC_barriert(L, globals, L->top - 2);
  luaC_barriert(L, globals, L->top - 1);
  L->top -= 2;
}

/* A function's name and line at a level of the stack, for the debugger. */
int rubine_frame (lua_State *L, int level, char *name, size_t size, int *line) {
  lua_Debug ar;
  if (!lua_getstack(L, level, &ar))
    return 0;
  lua_getinfo(L, "nSl", &ar);
  *line = ar.currentline;
  if (strstr(ar.short_src, "user_script") == NULL)
    *line = -1;
  snprintf(name, size, "%s", ar.name ? ar.name : "top level");
  return 1;
}

/* Pushes a local variable at a level of the stack; returns its name. */
const char *rubine_local (lua_State *L, int level, int n) {
  lua_Debug ar;
  if (!lua_getstack(L, level, &ar))
    return NULL;
  return lua_getlocal(L, &ar, n);
}
