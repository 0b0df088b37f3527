using WandbLaunch.Server.Auth;

namespace WandbLaunch.Server.Audit;

/// <summary>What is noted of a request: the mutation or endpoint, whose it was, and what it was done to.</summary>
internal sealed record AuditNote(string Operation, string? Entity, string? Project, string Subject, long? Queue = null);

/// <summary>What is noted when an endpoint has done its work; null for what is too much to be noted, and seen elsewhere.</summary>
internal sealed record AuditRule(AuditAction? Action);

/// <summary>What an endpoint says of its request that its address does not.</summary>
internal sealed class AuditDetail
{
    internal AuditAction? Action { get; set; }
    internal string? Entity { get; set; }
    internal string? Project { get; set; }
    internal string? Subject { get; set; }
    internal Caller? Caller { get; set; }

    /// <summary>True where nothing was done after all.</summary>
    internal bool IsNothing { get; set; }
}

/// <summary>Which endpoints are noted, and the one place that does it.</summary>
internal static class AuditRules
{
    private static readonly string[] Shown = ["queue", "id", "name", "run"];

    internal static IEndpointConventionBuilder Audited(this IEndpointConventionBuilder endpoint, AuditAction action) =>
        endpoint.WithMetadata(new AuditRule(action));

    /// <summary>Says that it is not noted: what runs send all the time is in the runs, and what mutations do is noted by them.</summary>
    internal static IEndpointConventionBuilder Unaudited(this IEndpointConventionBuilder endpoint) =>
        endpoint.WithMetadata(new AuditRule((AuditAction?)null));

    /// <summary>What the endpoint adds.</summary>
    internal static AuditDetail Audit(this HttpContext context)
    {
        var detail = context.Features.Get<AuditDetail>();
        if (detail is null)
        {
            context.Features.Set(detail = new AuditDetail());
        }

        return detail;
    }

    /// <summary>Notes that a request was refused.</summary>
    internal static void Refused(AuditLog log, HttpContext context, Caller caller) =>
        log.Add(context, caller, AuditAction.Refused, Note(context, null));

    /// <summary>The middleware around endpoints.</summary>
    internal static async Task InvokeAsync(AuditLog log, HttpContext context, RequestDelegate next)
    {
        try
        {
            await next(context);
        }
        catch (RequestFault e) when (e.Status == 403 && context.Features.Get<Caller>() is { } refused)
        {
            // By the endpoint itself, which knew more than its address.
            Refused(log, context, refused);
            throw;
        }

        if (context.GetEndpoint()?.Metadata.GetMetadata<AuditRule>() is not { Action: { } action })
        {
            return;
        }

        var detail = context.Features.Get<AuditDetail>();
        if (
            context.Response.StatusCode < 400
            && detail is not { IsNothing: true }
            && (detail?.Caller ?? context.Features.Get<Caller>()) is { } caller
        )
        {
            log.Add(context, caller, detail?.Action ?? action, Note(context, detail));
        }
    }

    private static AuditNote Note(HttpContext context, AuditDetail? detail)
    {
        var request = context.Request;
        return new AuditNote(
            $"{request.Method} {(context.GetEndpoint() as RouteEndpoint)?.RoutePattern.RawText ?? request.Path}",
            detail?.Entity ?? Value("entity"),
            detail?.Project ?? Value("project"),
            detail?.Subject ?? string.Join(", ", Shown.Where(n => Value(n) is not null).Select(n => $"{n} {Value(n)}"))
        );

        string? Value(string name) =>
            context.GetRouteValue(name)?.ToString()
            ?? (request.Query[name].ToString() is { Length: > 0 } text ? text : null);
    }
}
