// SPDX-License-Identifier: GPL-2.0 OR MIT
// A program of each type that can be attached, none of which is loaded unless --attach names it. Each reports that it ran.
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/usdt.bpf.h>

enum hook {
	TRACEPOINT, RAW_TRACEPOINT, TP_BTF, UPROBE, URETPROBE, UPROBE_MULTI, USDT, PERF_EVENT, SYSCALL,
	XDP, TC, TCX_INGRESS, TCX_EGRESS, NETFILTER, SK_LOOKUP, FLOW_DISSECTOR, SOCKET_FILTER,
	CGROUP_INGRESS, CGROUP_EGRESS, SOCK_CREATE, CONNECT4, GETSOCKOPT, SETSOCKOPT, SYSCTL, DEVICE, SOCKOPS,
	SK_MSG, STREAM_PARSER, STREAM_VERDICT, VERDICT, REPLACED, ORIGINAL,
};

struct hit {
	enum hook hook;
	u32 value;
};

const volatile u32 only_pid = 0; // Report this process alone, where the program knows the process.

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} hits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u64);
} sockets SEC(".maps"), others SEC(".maps");

static __always_inline void report(enum hook hook, u32 value)
{
	struct hit hit = { hook, value };

	bpf_ringbuf_output(&hits, &hit, sizeof(hit), 0);
}

static __always_inline void report_process(enum hook hook, u32 value)
{
	if (!only_pid || bpf_get_current_pid_tgid() >> 32 == only_pid)
		report(hook, value);
}

#define TRACING(section, name, context, hook, value) \
	SEC("?" section) int name(context *ctx) { report_process(hook, value); return 0; }

TRACING("tp", on_tracepoint, struct trace_event_raw_sys_enter, TRACEPOINT, ctx->args[0])
TRACING("raw_tp", on_raw_tracepoint, struct bpf_raw_tracepoint_args, RAW_TRACEPOINT, ctx->args[1])
TRACING("tp_btf", on_tp_btf, void, TP_BTF, 0)
TRACING("uprobe", on_uprobe, struct pt_regs, UPROBE, PT_REGS_PARM1(ctx))
TRACING("uprobe/twice", on_uprobe_in_some_binary, struct pt_regs, UPROBE, PT_REGS_PARM1(ctx))
TRACING("uretprobe", on_uretprobe, struct pt_regs, URETPROBE, PT_REGS_RC(ctx))
TRACING("uprobe.multi", on_uprobe_multi, struct pt_regs, UPROBE_MULTI, PT_REGS_PARM1(ctx))
TRACING("perf_event", on_perf_event, void, PERF_EVENT, bpf_get_current_pid_tgid() >> 32)
TRACING("kprobe", on_kprobe, void, TRACEPOINT, 0)
TRACING("kretprobe/do_unlinkat", on_kretprobe, void, TRACEPOINT, 0)
TRACING("kprobe.multi", on_kprobe_multi, void, TRACEPOINT, 0)
TRACING("kprobe.session", on_kprobe_session, void, TRACEPOINT, 0)
TRACING("ksyscall", on_ksyscall, void, TRACEPOINT, 0)
TRACING("fentry", on_fentry, void, TRACEPOINT, 0)
TRACING("fexit", on_fexit, void, TRACEPOINT, 0)
TRACING("fmod_ret", on_fmod_ret, void, TRACEPOINT, 0)
TRACING("lsm", on_lsm, void, TRACEPOINT, 0)

SEC("?usdt") int BPF_USDT(on_usdt, int value)
{
	report_process(USDT, value);
	return 0;
}

#define PACKETS(section, name, context, hook, verdict) \
	SEC("?" section) int name(context *ctx) { report(hook, 0); return verdict; }

PACKETS("syscall", on_run, void, SYSCALL, 0)
PACKETS("syscall", on_run_that_fails, void, SYSCALL, -95)
PACKETS("xdp", on_xdp, struct xdp_md, XDP, XDP_PASS)
PACKETS("tc", on_tc, struct __sk_buff, TC, 0)
PACKETS("tcx/ingress", on_tcx_ingress, struct __sk_buff, TCX_INGRESS, TCX_NEXT)
PACKETS("tcx/egress", on_tcx_egress, struct __sk_buff, TCX_EGRESS, TCX_NEXT)
PACKETS("netkit/primary", on_netkit, struct __sk_buff, TC, TCX_NEXT)
PACKETS("netfilter", on_netfilter, struct bpf_nf_ctx, NETFILTER, 1)
PACKETS("flow_dissector", on_flow_dissector, struct __sk_buff, FLOW_DISSECTOR, 129) // BPF_FLOW_DISSECTOR_CONTINUE
PACKETS("socket", on_socket_filter, struct __sk_buff, SOCKET_FILTER, 0)
PACKETS("cgroup_skb/ingress", on_ingress, struct __sk_buff, CGROUP_INGRESS, 1)
PACKETS("cgroup/skb", on_packets, struct __sk_buff, CGROUP_EGRESS, 1)
PACKETS("lsm_cgroup/socket_create", on_lsm_cgroup, void, SOCK_CREATE, 1)
PACKETS("cgroup/sock_create", on_sock_create, struct bpf_sock, SOCK_CREATE, 1)
PACKETS("cgroup/sysctl", on_sysctl, struct bpf_sysctl, SYSCTL, 1)
PACKETS("cgroup/dev", on_device, struct bpf_cgroup_dev_ctx, DEVICE, 1)
PACKETS("sk_reuseport", on_reuseport, struct sk_reuseport_md, SK_MSG, SK_PASS)

SEC("?sk_lookup") int on_sk_lookup(struct bpf_sk_lookup *ctx)
{
	report(SK_LOOKUP, ctx->local_port);
	return SK_PASS;
}

SEC("?cgroup/connect4") int on_connect4(struct bpf_sock_addr *ctx)
{
	report(CONNECT4, bpf_ntohs(ctx->user_port));
	return 1;
}

SEC("?cgroup/getsockopt") int on_getsockopt(struct bpf_sockopt *ctx)
{
	report(GETSOCKOPT, ctx->optname);
	return 1;
}

SEC("?cgroup/setsockopt") int on_setsockopt(struct bpf_sockopt *ctx)
{
	report(SETSOCKOPT, ctx->optname);
	ctx->optlen = -1; // the kernel does it
	return 1;
}

SEC("?sockops") int on_sockops(struct bpf_sock_ops *ctx)
{
	u32 key = ctx->local_port;

	if (ctx->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB && ctx->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		return 1;
	report(SOCKOPS, ctx->op);
	bpf_sock_hash_update(ctx, &sockets, &key, BPF_ANY);
	return 1;
}

PACKETS("sk_msg", on_message, struct sk_msg_md, SK_MSG, SK_PASS)
PACKETS("sk_skb/stream_verdict", on_stream_verdict, struct __sk_buff, STREAM_VERDICT, SK_PASS)
PACKETS("sk_skb", on_verdict, struct __sk_buff, VERDICT, SK_PASS)
PACKETS("sk_skb/stream_parser", on_stream_parser, struct __sk_buff, STREAM_PARSER, ctx->len)

__noinline int replaceable(struct xdp_md *ctx)
{
	volatile int verdict = XDP_PASS;

	report(ORIGINAL, 0);
	return ctx ? verdict : 0;
}

SEC("?xdp") int on_xdp_with_function(struct xdp_md *ctx)
{
	return replaceable(ctx);
}

SEC("?freplace/replaceable") int replacement(struct xdp_md *ctx)
{
	report(REPLACED, 0);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
