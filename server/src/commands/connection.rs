//! Commands about the connection itself: greeting, authentication, CLIENT.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use lux_engine::ids::DbIndex;

use crate::admin::help;
use crate::blocking::Unblock;
use crate::clock;
use crate::dispatch::args::{Args, parse_int};
use crate::dispatch::context::{CommandTable, Context};
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;
use crate::dispatch::spec::{Arity, CommandSpec, Flags, Group};
use crate::session::{ClientHandle, Protocol, ReplyMode};

/// Allowed at any time.
const ANYTIME: Flags = Flags::LOADING.with(Flags::STALE);
const BEFORE_AUTH: Flags =
    ANYTIME.with(Flags::FAST).with(Flags::NOSCRIPT).with(Flags::NO_AUTH).with(Flags::SKIP_SLOWLOG);
const CLIENT: Flags = ANYTIME.with(Flags::NOSCRIPT);
const CLIENT_ADMIN: Flags = CLIENT.with(Flags::ADMIN);

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "AUTH",
        group: Group::Connection,
        summary: "Authenticates the connection.",
        arity: Arity::AtLeast(2),
        flags: BEFORE_AUTH,
        arguments: "[username] password",
        handler: auth,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "CLIENT",
        since: "2.4.0",
        group: Group::Connection,
        summary: "A container for client connection commands.",
        arity: Arity::AtLeast(2),
        flags: Flags::SKIP_SLOWLOG,
        subcommands: CLIENT_SUBCOMMANDS,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ECHO",
        group: Group::Connection,
        summary: "Returns the given string.",
        arity: Arity::Exactly(2),
        flags: ANYTIME.with(Flags::FAST),
        arguments: "message",
        handler: echo,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HELLO",
        since: "6.0.0",
        group: Group::Connection,
        summary: "Handshakes with the server: protocol version, authentication, name.",
        arity: Arity::AtLeast(1),
        flags: BEFORE_AUTH,
        arguments: "[protover [AUTH username password] [SETNAME clientname]]",
        handler: hello,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "PING",
        group: Group::Connection,
        summary: "Returns the server's liveliness response.",
        arity: Arity::Between(1, 2),
        flags: Flags::FAST,
        arguments: "[message]",
        handler: ping,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "QUIT",
        group: Group::Connection,
        summary: "Closes the connection.",
        arity: Arity::AtLeast(1),
        flags: BEFORE_AUTH,
        handler: quit,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "RESET",
        since: "6.2.0",
        group: Group::Connection,
        summary: "Resets the connection.",
        arity: Arity::Exactly(1),
        flags: BEFORE_AUTH,
        handler: reset,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SELECT",
        group: Group::Connection,
        summary: "Changes the selected database.",
        arity: Arity::Exactly(2),
        flags: ANYTIME.with(Flags::FAST),
        arguments: "index",
        handler: select,
        ..CommandSpec::BASE
    },
];

const CLIENT_SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "GETNAME",
        since: "2.6.9",
        group: Group::Connection,
        summary: "Returns the name of the connection.",
        arity: Arity::Exactly(2),
        flags: CLIENT,
        handler: client_getname,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "GETREDIR",
        since: "6.0.0",
        group: Group::Connection,
        summary: "Returns the client ID that tracking messages are redirected to.",
        arity: Arity::Exactly(2),
        flags: CLIENT,
        handler: client_getredir,
        ..CommandSpec::BASE
    },
    help::spec(Group::Connection),
    CommandSpec {
        name: "ID",
        since: "5.0.0",
        group: Group::Connection,
        summary: "Returns the unique client ID of the connection.",
        arity: Arity::Exactly(2),
        flags: CLIENT,
        handler: client_id,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "INFO",
        since: "6.2.0",
        group: Group::Connection,
        summary: "Returns information about the connection.",
        arity: Arity::Exactly(2),
        flags: CLIENT,
        handler: client_info,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "KILL",
        since: "2.4.0",
        group: Group::Connection,
        summary: "Terminates open connections.",
        complexity: "O(N) where N is the number of client connections",
        arity: Arity::AtLeast(3),
        flags: CLIENT_ADMIN,
        arguments: "ip:port | [ID client-id] [TYPE normal | master | replica | pubsub] [USER username] \
                    [ADDR ip:port] [LADDR ip:port] [SKIPME yes | no] [MAXAGE seconds]",
        handler: client_kill,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "LIST",
        since: "2.4.0",
        group: Group::Connection,
        summary: "Lists open connections.",
        complexity: "O(N) where N is the number of client connections",
        arity: Arity::AtLeast(2),
        flags: CLIENT_ADMIN,
        arguments: "[TYPE normal | master | replica | pubsub] [ID client-id [client-id ...]]",
        handler: client_list,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "NO-EVICT",
        since: "7.0.0",
        group: Group::Connection,
        summary: "Sets the client eviction mode of the connection.",
        arity: Arity::Exactly(3),
        flags: CLIENT_ADMIN,
        arguments: "ON | OFF",
        handler: client_no_evict,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "NO-TOUCH",
        since: "7.2.0",
        group: Group::Connection,
        summary: "Controls whether commands sent by the client affect the access clock of keys.",
        arity: Arity::Exactly(3),
        flags: CLIENT,
        arguments: "ON | OFF",
        handler: client_no_touch,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "PAUSE",
        since: "3.0.0",
        group: Group::Connection,
        summary: "Suspends commands processing.",
        arity: Arity::AtLeast(3),
        flags: CLIENT_ADMIN,
        arguments: "timeout [WRITE | ALL]",
        handler: client_pause,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "REPLY",
        since: "3.2.0",
        group: Group::Connection,
        summary: "Instructs the server whether to reply to commands.",
        arity: Arity::Exactly(3),
        flags: CLIENT,
        arguments: "ON | OFF | SKIP",
        handler: client_reply,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SETINFO",
        since: "7.2.0",
        group: Group::Connection,
        summary: "Sets information specific to the client or connection.",
        arity: Arity::Exactly(4),
        flags: CLIENT,
        arguments: "LIB-NAME libname | LIB-VER libver",
        handler: client_setinfo,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SETNAME",
        since: "2.6.9",
        group: Group::Connection,
        summary: "Sets the connection name.",
        arity: Arity::Exactly(3),
        flags: CLIENT,
        arguments: "connection-name",
        handler: client_setname,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "TRACKINGINFO",
        since: "6.2.0",
        group: Group::Connection,
        summary: "Returns information about server-assisted client-side caching for the connection.",
        arity: Arity::Exactly(2),
        flags: CLIENT,
        handler: client_trackinginfo,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "UNBLOCK",
        since: "5.0.0",
        group: Group::Connection,
        summary: "Unblocks a client blocked by a blocking command from a different connection.",
        arity: Arity::AtLeast(3),
        flags: CLIENT_ADMIN,
        arguments: "client-id [TIMEOUT | ERROR]",
        handler: client_unblock,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "UNPAUSE",
        since: "6.2.0",
        group: Group::Connection,
        summary: "Resumes processing commands from paused clients.",
        arity: Arity::Exactly(2),
        flags: CLIENT_ADMIN,
        handler: client_unpause,
        ..CommandSpec::BASE
    },
];

/// The one user there is.
const DEFAULT_USER: &[u8] = b"default";

/// `AUTH [username] password`
fn auth(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let first = args.bytes()?;
    let second = args.next();
    args.finish()?;
    match second {
        Some(password) => log_in(ctx, first, password)?,
        None if ctx.config().requirepass.is_empty() => return Err(errors::NO_PASSWORD_SET),
        None => log_in(ctx, DEFAULT_USER, first)?,
    }
    reply.ok();
    Ok(())
}

/// Authenticates the session, or leaves it as it was.
fn log_in(ctx: &mut Context<'_>, user: &[u8], password: &[u8]) -> Result<(), CommandError> {
    let expected = &ctx.config().requirepass[..];
    if user != DEFAULT_USER || !(expected.is_empty() || equals_in_constant_time(expected, password)) {
        return Err(errors::WRONG_PASS);
    }
    ctx.session.is_authenticated = true;
    Ok(())
}

/// Compares without telling by the time taken where the first difference is.
fn equals_in_constant_time(expected: &[u8], given: &[u8]) -> bool {
    let mut difference = expected.len() ^ given.len();
    for (i, byte) in given.iter().enumerate() {
        difference |= usize::from(byte ^ expected[i % expected.len()]);
    }
    difference == 0
}

/// `ECHO message`
fn echo(_: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    reply.bulk(args.bytes()?);
    Ok(())
}

/// `PING [message]`
fn ping(_: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    match args.next() {
        Some(message) => reply.bulk(message),
        None => reply.simple("PONG"),
    }
    Ok(())
}

/// `QUIT`
fn quit(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    ctx.session.close_after_reply = true;
    reply.ok();
    Ok(())
}

/// `RESET`
fn reset(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    ctx.session.reset();
    reply.set_resp3(false);
    reply.simple("RESET");
    Ok(())
}

/// `SELECT index`
fn select(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let index = args.small_int()?;
    if !(0..ctx.config().databases).contains(&index) {
        return Err(errors::DB_INDEX);
    }
    ctx.session.db = DbIndex(u8::try_from(index).expect("there are at most 16 databases"));
    reply.ok();
    Ok(())
}

/// `HELLO [protover [AUTH username password] [SETNAME clientname]]`
fn hello(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let version = match args.next() {
        None => None,
        Some(text) => match parse_int(text).ok_or(errors::PROTOCOL_VERSION)? {
            2 => Some(Protocol::Resp2),
            3 => Some(Protocol::Resp3),
            _ => return Err(errors::NO_PROTO),
        },
    };
    let (mut login, mut name) = (None, None);
    while let Some(option) = args.peek() {
        let is_auth = args.keyword("AUTH");
        match args.remaining() {
            2.. if is_auth => login = Some((args.bytes()?, args.bytes()?)),
            1.. if !is_auth && args.keyword("SETNAME") && !args.is_empty() => name = Some(args.bytes()?),
            _ => return Err(errors::hello_option(option)),
        }
    }
    if let Some((user, password)) = login {
        log_in(ctx, user, password)?;
    }
    if ctx.session.needs_auth() {
        return Err(errors::HELLO_NO_AUTH);
    }
    if let Some(name) = name {
        set_name(ctx, name)?;
    }
    if let Some(version) = version {
        ctx.session.protocol = version;
        reply.set_resp3(version == Protocol::Resp3);
    }
    greet(ctx, reply);
    Ok(())
}

fn greet(ctx: &Context<'_>, reply: &mut dyn ReplySink) {
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(crate::REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.integer(ctx.session.protocol as i64);
    reply.bulk(b"id");
    reply.integer(ctx.session.handle.id.cast_signed());
    reply.bulk(b"mode");
    reply.bulk(b"standalone");
    reply.bulk(b"role");
    reply.bulk(b"master");
    reply.bulk(b"modules");
    reply.array(0);
}

/// Printable and without spaces, so that CLIENT LIST stays readable.
fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

fn set_name(ctx: &Context<'_>, name: &[u8]) -> Result<(), CommandError> {
    if !is_plain(name) {
        return Err(errors::CLIENT_NAME);
    }
    ctx.session.handle.labels.lock().name = name.to_vec();
    Ok(())
}

/// `CLIENT SETNAME connection-name`
fn client_setname(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    set_name(ctx, args.bytes()?)?;
    reply.ok();
    Ok(())
}

/// `CLIENT GETNAME`
fn client_getname(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let labels = ctx.session.handle.labels.lock();
    reply.bulk_or_null(Some(&labels.name[..]).filter(|name| !name.is_empty()));
    Ok(())
}

/// `CLIENT SETINFO LIB-NAME libname | LIB-VER libver`
fn client_setinfo(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let option = args.bytes()?;
    let value = args.bytes()?;
    let is_name = option.eq_ignore_ascii_case(b"LIB-NAME");
    if !is_name && !option.eq_ignore_ascii_case(b"LIB-VER") {
        return Err(errors::unrecognized_option(option));
    }
    if !is_plain(value) {
        return Err(errors::client_attribute(option));
    }
    let mut labels = ctx.session.handle.labels.lock();
    let slot = if is_name { &mut labels.lib_name } else { &mut labels.lib_ver };
    *slot = value.to_vec();
    reply.ok();
    Ok(())
}

/// `CLIENT ID`
fn client_id(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    reply.integer(ctx.session.handle.id.cast_signed());
    Ok(())
}

/// `CLIENT GETREDIR`: no client tracks keys.
fn client_getredir(_: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    reply.integer(-1);
    Ok(())
}

/// `CLIENT TRACKINGINFO`
fn client_trackinginfo(_: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(1);
    reply.bulk(b"off");
    reply.bulk(b"redirect");
    reply.integer(-1);
    reply.bulk(b"prefixes");
    reply.array(0);
    Ok(())
}

/// `CLIENT INFO`
fn client_info(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    publish_self(ctx);
    reply.verbatim("txt", &describe(ctx.commands(), &ctx.session.handle));
    Ok(())
}

/// `CLIENT LIST [TYPE type] [ID client-id [client-id ...]]`
fn client_list(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    publish_self(ctx);
    let clients = if args.is_empty() {
        ctx.state.clients.all()
    } else if args.remaining() == 2 && args.keyword("TYPE") {
        let class = client_class(args.bytes()?)?;
        if class == Class::Normal { ctx.state.clients.all() } else { Vec::new() }
    } else if args.remaining() > 1 && args.keyword("ID") {
        let ids: Vec<u64> = args.map(client_id_of).collect::<Result<_, _>>()?;
        ids.into_iter().filter_map(|id| ctx.state.clients.get(id)).collect()
    } else {
        return Err(errors::SYNTAX);
    };
    let lines: Vec<u8> = clients.iter().flat_map(|client| describe(ctx.commands(), client)).collect();
    reply.verbatim("txt", &lines);
    Ok(())
}

fn client_id_of(text: &[u8]) -> Result<u64, CommandError> {
    let id = parse_int(text).and_then(|id| u64::try_from(id).ok());
    id.filter(|id| *id > 0).ok_or(errors::INVALID_CLIENT_ID)
}

/// What other connections see of this one, as of now instead of the last batch.
fn publish_self(ctx: &Context<'_>) {
    let handle = &ctx.session.handle;
    handle.last_command.store(ctx.command.id, Relaxed);
    handle.db.store(u32::from(ctx.session.db.0), Relaxed);
    handle.protocol.store(ctx.session.protocol as u32, Relaxed);
}

/// One line of CLIENT LIST.
fn describe(table: &CommandTable, client: &ClientHandle) -> Vec<u8> {
    let now_ms = clock::unix_ms();
    let labels = client.labels.lock().clone();
    let seconds_since = |unix_ms: u64| now_ms.saturating_sub(unix_ms) / 1000;
    let command = table.all().get(client.last_command.load(Relaxed));
    let (qbuf, qbuf_free) =
        (client.query_buffer_bytes.load(Relaxed), client.query_buffer_free_bytes.load(Relaxed));
    let omem = client.output_buffer_bytes.load(Relaxed);
    format!(
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub=0 psub=0 ssub=0 multi=-1 \
         watch=0 qbuf={qbuf} qbuf-free={qbuf_free} argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem={omem} \
         tot-mem={} events=r cmd={} user=default redir=-1 resp={} lib-name={} lib-ver={} \
         tot-net-in={} tot-net-out={} tot-cmds={}\n",
        client.id,
        client.peer,
        client.local,
        client.fd,
        String::from_utf8_lossy(&labels.name),
        seconds_since(client.connected_unix_ms),
        seconds_since(client.last_active_unix_ms.load(Relaxed)),
        client.flag_letters(),
        client.db.load(Relaxed),
        qbuf + qbuf_free + omem + size_of::<ClientHandle>(),
        command.map_or("NULL", |command| command.full_name.as_str()),
        client.protocol.load(Relaxed),
        String::from_utf8_lossy(&labels.lib_name),
        String::from_utf8_lossy(&labels.lib_ver),
        client.bytes_in.load(Relaxed),
        client.bytes_out.load(Relaxed),
        client.commands.load(Relaxed),
    )
    .into_bytes()
}

/// The classes CLIENT LIST and KILL tell apart. All connections are ordinary ones today.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Normal,
    Other,
}

fn client_class(name: &[u8]) -> Result<Class, CommandError> {
    let is = |class: &str| name.eq_ignore_ascii_case(class.as_bytes());
    match () {
        () if is("normal") => Ok(Class::Normal),
        () if ["slave", "replica", "master", "pubsub"].into_iter().any(is) => Ok(Class::Other),
        () => Err(errors::unknown_client_type(name)),
    }
}

/// Which connections CLIENT KILL ends.
#[derive(Default)]
struct KillFilter<'a> {
    id: Option<u64>,
    address: Option<&'a [u8]>,
    local: Option<&'a [u8]>,
    class: Option<Class>,
    age_min_s: Option<u64>,
    spares_self: bool,
}

impl<'a> KillFilter<'a> {
    fn parse(args: &mut Args<'a>) -> Result<Self, CommandError> {
        let mut filter = KillFilter { spares_self: true, ..KillFilter::default() };
        while !args.is_empty() {
            if args.remaining() == 1 {
                return Err(errors::SYNTAX);
            }
            match args.one_of(&["ID", "TYPE", "ADDR", "LADDR", "USER", "SKIPME", "MAXAGE"]) {
                Some(0) => {
                    filter.id = Some(client_id_of(args.bytes()?).map_err(|_| errors::CLIENT_ID_POSITIVE)?)
                }
                Some(1) => filter.class = Some(client_class(args.bytes()?)?),
                Some(2) => filter.address = Some(args.bytes()?),
                Some(3) => filter.local = Some(args.bytes()?),
                Some(4) => match args.bytes()? {
                    DEFAULT_USER => {}
                    user => return Err(errors::no_such_user(user)),
                },
                Some(5) => match args.one_of(&["YES", "NO"]) {
                    Some(0) => filter.spares_self = true,
                    Some(_) => filter.spares_self = false,
                    None => return Err(errors::SYNTAX),
                },
                Some(_) => {
                    let age_s = args.int().map_err(|_| errors::MAXAGE_NOT_AN_INTEGER)?;
                    if age_s <= 0 {
                        return Err(errors::MAXAGE_POSITIVE);
                    }
                    filter.age_min_s = Some(age_s.unsigned_abs());
                }
                None => return Err(errors::SYNTAX),
            }
        }
        Ok(filter)
    }

    fn picks(&self, client: &ClientHandle, now_ms: u64) -> bool {
        let age_s = now_ms.saturating_sub(client.connected_unix_ms) / 1000;
        self.id.is_none_or(|id| client.id == id)
            && self.address.is_none_or(|address| client.peer.as_bytes() == address)
            && self.local.is_none_or(|local| client.local.as_bytes() == local)
            && self.class.is_none_or(|class| class == Class::Normal)
            && self.age_min_s.is_none_or(|least| age_s >= least)
    }
}

/// `CLIENT KILL ip:port | filters`
fn client_kill(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let is_old_form = args.remaining() == 1;
    let filter = match is_old_form {
        true => KillFilter { address: Some(args.bytes()?), ..KillFilter::default() },
        false => KillFilter::parse(&mut args)?,
    };
    let now_ms = clock::unix_ms();
    let own_id = ctx.session.handle.id;
    let mut killed = 0;
    for client in ctx.state.clients.all() {
        if !filter.picks(&client, now_ms) || (client.id == own_id && filter.spares_self) {
            continue;
        }
        killed += 1;
        end_client(ctx, &client);
    }
    match (is_old_form, killed) {
        (true, 0) => return Err(errors::NO_SUCH_CLIENT),
        (true, _) => reply.ok(),
        (false, killed) => reply.integer(killed),
    }
    Ok(())
}

/// Others end at once; this connection after it said how many it killed.
fn end_client(ctx: &mut Context<'_>, client: &Arc<ClientHandle>) {
    match client.id == ctx.session.handle.id {
        true => ctx.session.close_after_reply = true,
        false => client.kill(),
    }
}

/// Takes `ON` or `OFF`.
fn switch(args: &mut Args<'_>) -> Result<bool, CommandError> {
    match args.one_of(&["ON", "OFF"]) {
        Some(index) => Ok(index == 0),
        None => Err(errors::SYNTAX),
    }
}

/// `CLIENT NO-EVICT ON | OFF`
fn client_no_evict(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    ctx.session.handle.no_evict.store(switch(&mut args)?, Relaxed);
    reply.ok();
    Ok(())
}

/// `CLIENT NO-TOUCH ON | OFF`
fn client_no_touch(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    ctx.session.no_touch = switch(&mut args)?;
    ctx.session.handle.no_touch.store(ctx.session.no_touch, Relaxed);
    reply.ok();
    Ok(())
}

/// `CLIENT REPLY ON | OFF | SKIP`
fn client_reply(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let was_off = ctx.session.reply_mode == ReplyMode::Off;
    match args.one_of(&["ON", "OFF", "SKIP"]) {
        Some(0) => {
            ctx.session.reply_mode = ReplyMode::On;
            reply.ok();
        }
        Some(1) => ctx.session.reply_mode = ReplyMode::Off,
        Some(_) if was_off => {}
        Some(_) => ctx.session.reply_mode = ReplyMode::SkipNext,
        None => return Err(errors::SYNTAX),
    }
    Ok(())
}

/// `CLIENT PAUSE timeout [WRITE | ALL]`
fn client_pause(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let timeout_ms = args.int().map_err(|_| errors::TIMEOUT_NOT_AN_INTEGER)?;
    let timeout_ms = u64::try_from(timeout_ms).map_err(|_| errors::TIMEOUT_NEGATIVE)?;
    let only_writes = match args.is_empty() {
        true => false,
        false => match args.one_of(&["WRITE", "ALL"]) {
            Some(index) => index == 0,
            None => return Err(errors::PAUSE_MODE),
        },
    };
    args.finish()?;
    ctx.state.pause.start(timeout_ms, only_writes);
    reply.ok();
    Ok(())
}

/// `CLIENT UNPAUSE`
fn client_unpause(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    ctx.state.pause.stop();
    reply.ok();
    Ok(())
}

/// `CLIENT UNBLOCK client-id [TIMEOUT | ERROR]`
fn client_unblock(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let id = args.bytes()?;
    let how = match args.is_empty() {
        true => Unblock::Timeout,
        false => match args.one_of(&["TIMEOUT", "ERROR"]) {
            Some(0) => Unblock::Timeout,
            Some(_) => Unblock::Error,
            None => return Err(errors::UNBLOCK_REASON),
        },
    };
    let id = parse_int(id).ok_or(errors::NOT_AN_INTEGER)?;
    let is_unblocked = u64::try_from(id).is_ok_and(|id| ctx.state.blocking.unblock(id, how));
    reply.integer(i64::from(is_unblocked));
    Ok(())
}
