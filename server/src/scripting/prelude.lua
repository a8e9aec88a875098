-- What scripts see of the interpreter. Runs once per interpreter, before any script, with the real
-- globals, and returns the entry points that Rust calls. Nothing defined here as `local` can be
-- reached by a script: there is no debug library and no getfenv.

local natives, constants = ...

local error, type, next, select, tostring, unpack = error, type, next, select, tostring, unpack
local rawget, rawset = rawget, rawset
local raw_pcall, raw_xpcall, raw_resume = pcall, xpcall, coroutine.resume
local raw_getmetatable, raw_setmetatable, raw_collect = getmetatable, setmetatable, collectgarbage
local sub, concat = string.sub, table.concat

---------------------------------------------------------------------------------------------------
-- Read-only tables. Lua 5.1 has none, so scripts get an empty proxy of each protected table. The
-- functions that look past metatables know the proxies; what `table.insert` and its like still put
-- into one is swept away after the script.

local protected = {}

local function deny()
  error("Attempt to modify a readonly table", 2)
end

local function readonly(real)
  local proxy = raw_setmetatable({}, { __index = real, __newindex = deny })
  protected[proxy] = real
  return proxy
end

local function copy(real)
  local out = {}
  for key, value in next, real do out[key] = value end
  return out
end

local function sweep()
  for proxy in next, protected do
    local key = next(proxy)
    while key ~= nil do
      rawset(proxy, key, nil)
      key = next(proxy)
    end
  end
end

---------------------------------------------------------------------------------------------------
-- What a native function raises arrives as an object; the value is kept aside.

---------------------------------------------------------------------------------------------------
-- Functions that catch errors let no script survive its own end.

local function rethrow_if_stopped()
  if natives.is_stopped() then error("script killed", 0) end
end

local function plain(err)
  if type(err) ~= "userdata" then return err end
  local raised = natives.take_raised()
  if raised ~= nil then return raised end
  return tostring(err)
end

local function caught(ok, ...)
  if ok then return true, ... end
  rethrow_if_stopped()
  local err = plain((...))
  if type(err) == "table" then
    local message = err.err
    if type(message) == "string" or type(message) == "number" then err = message end
  end
  return false, err
end

local function caught_as_is(ok, ...)
  if ok then return true, ... end
  rethrow_if_stopped()
  return false, plain((...))
end

local base = {
  assert = assert, error = error, gcinfo = gcinfo, ipairs = ipairs, rawequal = rawequal,
  select = select, tonumber = tonumber, tostring = tostring, type = type, unpack = unpack,
  _VERSION = _VERSION,
}

function base.pcall(...)
  return caught(raw_pcall(...))
end

-- Called after the error has unwound: Lua runs a real handler inside the instruction hook that raised
-- it, where hooks are off and an endless handler could not be stopped.
local function handled(handler, ok, ...)
  if ok then return true, ... end
  rethrow_if_stopped()
  return false, select(2, caught_as_is(raw_pcall(handler, plain((...)))))
end

function base.xpcall(body, handler)
  return handled(handler, raw_pcall(body))
end

---------------------------------------------------------------------------------------------------
-- Functions that look past metatables.

function base.setmetatable(table, meta)
  if protected[table] then error("Attempt to modify a readonly table", 2) end
  return raw_setmetatable(table, meta)
end

local string_meta
local metatables = {}

function base.getmetatable(value)
  if type(value) == "string" then return string_meta end
  if value ~= nil and protected[value] then return metatables[value] end
  return raw_getmetatable(value)
end

function base.rawset(table, key, value)
  if protected[table] then error("Attempt to modify a readonly table", 2) end
  return rawset(table, key, value)
end

function base.rawget(table, key)
  return rawget(table ~= nil and protected[table] or table, key)
end

function base.next(table, key)
  return next(table ~= nil and protected[table] or table, key)
end

function base.pairs(table)
  local real = table ~= nil and protected[table]
  if real then return next, copy(real), nil end
  if type(table) ~= "table" then
    error("bad argument #1 to 'pairs' (table expected, got " .. (table == nil and "nil" or type(table)) .. ")", 2)
  end
  return next, table, nil
end

-- Stopping the collector or making it lazy would outlast the script.
function base.collectgarbage(option, argument)
  if option == nil or option == "collect" or option == "count" or option == "step" then
    return raw_collect(option, argument)
  end
  return 0
end

---------------------------------------------------------------------------------------------------
-- Chunks are text only, and see the same globals as their script.

local environment

function base.loadstring(text, name)
  local ok, chunk = natives.load(text, name, environment)
  if ok then return chunk end
  return nil, chunk
end

function base.load(reader, name)
  local pieces = {}
  while true do
    local piece = reader()
    if piece == nil or piece == "" then break end
    if type(piece) ~= "string" then return nil, "reader function must return a string" end
    pieces[#pieces + 1] = piece
  end
  return base.loadstring(concat(pieces), name or "=(load)")
end

---------------------------------------------------------------------------------------------------
-- Libraries.

-- Lua 5.1 counts C calls per coroutine, so coroutines that resume coroutines would overflow the
-- thread's stack. They may nest a few levels only.
local nested, nested_max = 0, 16
local raw_create = coroutine.create
local coroutines = copy(coroutine)

local function resumed(...)
  nested = nested - 1
  return caught_as_is(...)
end

local function resume(...)
  if nested >= nested_max then return false, "C stack overflow" end
  nested = nested + 1
  return resumed(raw_resume(...))
end

local function unwrapped(ok, ...)
  if ok then return ... end
  local err = (...)
  error(err, type(err) == "string" and 3 or 0)
end

function coroutines.resume(routine, ...)
  if type(routine) ~= "thread" then error("bad argument #1 to 'resume' (coroutine expected)", 2) end
  return resume(routine, ...)
end

function coroutines.wrap(body)
  if type(body) ~= "function" then error("bad argument #1 to 'wrap' (Lua function expected)", 2) end
  local routine = raw_create(body)
  return function(...) return unwrapped(resume(routine, ...)) end
end

-- In place: the methods of strings are looked up in this very table.
for name, native in next, natives.string do
  if name ~= "gsub_step" and name ~= "gmatch" and name ~= "gsub" then string[name] = native end
end
string.gfind = nil

function string.gmatch(text, pattern)
  local from, step = 0, natives.string.gmatch
  local function take(first, last, ...)
    if first == nil then return nil end
    from = last > first and last or last + 1
    return ...
  end
  return function() return take(step(text, pattern, from)) end
end

local function replacement(with, match, text)
  local value
  if type(with) == "function" then value = with(unpack(match, 3)) else value = with[match[3]] end
  if not value then return sub(text, match[1] + 1, match[2]) end
  local kind = type(value)
  if kind ~= "string" and kind ~= "number" then error("invalid replacement value (a " .. kind .. ")", 3) end
  return value
end

function string.gsub(text, pattern, with, max)
  local kind = type(with)
  if kind ~= "table" and kind ~= "function" then
    if kind ~= "string" and kind ~= "number" then
      error("bad argument #3 to 'gsub' (string/function/table expected)", 2)
    end
    return natives.string.gsub(text, pattern, with, max)
  end
  if type(text) == "number" then text = tostring(text) end
  local out, count, from = {}, 0, 0
  max = max == nil and 1 / 0 or max
  while count < max do
    local match = { natives.string.gsub_step(text, pattern, from) }
    local first, last = match[1], match[2]
    if first == nil then break end
    count = count + 1
    out[#out + 1] = sub(text, from + 1, first)
    out[#out + 1] = replacement(with, match, text)
    from = last
    if last == first then
      out[#out + 1] = sub(text, from + 1, from + 1)
      from = from + 1
    end
  end
  out[#out + 1] = sub(text, from + 1)
  return concat(out), count
end

local numbers = copy(math)
numbers.random, numbers.randomseed = natives.random, natives.randomseed

local json = copy(natives.cjson)
json.reset = nil
json.new = function()
  local module = natives.cjson.new()
  module.reset = nil
  return module
end

base.coroutine, base.string, base.table = readonly(coroutines), readonly(string), readonly(table)
base.math, base.os = readonly(numbers), readonly({ clock = os.clock })
base.cjson, base.cmsgpack = readonly(json), readonly(natives.cmsgpack)
base.struct, base.bit = readonly(natives.struct), readonly(natives.bit)
string_meta = readonly({ __index = base.string })

---------------------------------------------------------------------------------------------------
-- The server's own table.

local function failure(message)
  return { err = "ERR " .. message }
end

local shared = copy(constants)

function shared.log(...)
  local count, level = select("#", ...), (...)
  if count < 2 then error(failure("server.log() requires two arguments or more.")) end
  level = tonumber(level)
  if not level then error(failure("First argument must be a number (log level).")) end
  level = math.floor(level)
  if level < 0 or level > 3 then error(failure("Invalid log level.")) end
  local words = {}
  for index = 2, count do
    local word = select(index, ...)
    if type(word) == "string" or type(word) == "number" then words[#words + 1] = tostring(word) end
  end
  natives.log(level, concat(words, " "))
end

local api = copy(shared)

api.call, api.pcall, api.acl_check_cmd = natives.call, natives.pcall, natives.acl_check_cmd

function api.error_reply(...)
  local text = ...
  if select("#", ...) ~= 1 or type(text) ~= "string" then return failure("wrong number or type of arguments") end
  return natives.error_table(text)
end

function api.status_reply(...)
  local text = ...
  if select("#", ...) ~= 1 or type(text) ~= "string" then return failure("wrong number or type of arguments") end
  return { ok = text }
end

function api.sha1hex(...)
  if select("#", ...) ~= 1 then error(failure("wrong number of arguments")) end
  return natives.sha1hex((...))
end

function api.setresp(...)
  if select("#", ...) ~= 1 then error(failure("server.setresp() requires one argument.")) end
  local version = tonumber((...))
  if version ~= 2 and version ~= 3 then error(failure("RESP version must be 2 or 3.")) end
  natives.set_resp3(version == 3)
end

-- Nothing here is replicated as the commands of a script; the call is checked and has no effect.
function api.set_repl(...)
  if select("#", ...) ~= 1 then error(failure("server.set_repl() requires one argument.")) end
  local flags = tonumber((...)) or 0
  if flags < 0 or flags > 3 then
    error(failure("Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE."))
  end
end

api.REPL_NONE, api.REPL_AOF, api.REPL_SLAVE, api.REPL_REPLICA, api.REPL_ALL = 0, 1, 2, 2, 3

---------------------------------------------------------------------------------------------------
-- Three sets of globals: of EVAL, of a library's functions, and of a library while it loads.

local function missing(_, name)
  error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
end

local function globals(names, server)
  local real = copy(names)
  real.server, real.redis = server, server
  raw_setmetatable(real, { __index = missing })
  local meta = { __index = real, __newindex = deny }
  local proxy = raw_setmetatable({}, meta)
  protected[proxy], metatables[proxy] = real, readonly({ __index = missing })
  real._G = proxy
  return real, proxy, meta
end

local eval_api = copy(api)
function eval_api.breakpoint() return false end
function eval_api.debug() end
function eval_api.replicate_commands() return true end

local eval_globals, eval_environment = globals(base, readonly(eval_api))
local function_globals, function_environment, function_meta = globals(base, readonly(api))

local register = copy(shared)
function register.register_function(...)
  local ok, err = natives.register_function(...)
  if not ok then error(err, 0) end
end
raw_setmetatable(register, { __index = missing })
local loading_globals = globals({}, readonly(register))

---------------------------------------------------------------------------------------------------
-- Entry points.

local function handler(err)
  local source, line = natives.where()
  err = plain(err)
  if type(err) ~= "table" then err = { err = "ERR " .. tostring(err) } end
  if source then
    err.source = source
    err.line = line
  end
  return err
end

local entry = { eval_globals = eval_globals, sweep = sweep }

function entry.compile_eval(text)
  return natives.load(text, "@user_script", eval_environment)
end

function entry.eval(body)
  nested = 0
  environment = eval_environment
  return raw_xpcall(body, handler)
end

function entry.call(body, keys, args)
  nested = 0
  environment = function_environment
  return raw_xpcall(function() return body(keys, args) end, handler)
end

function entry.compile_library(text)
  return natives.load(text, "@user_function", function_environment)
end

function entry.load_library(body)
  environment = function_environment
  function_meta.__index = loading_globals
  local ok, err = raw_pcall(body)
  function_meta.__index = function_globals
  return ok, plain(err)
end

return entry
