using WandbLaunch.Server.Audit;
using WandbLaunch.Server.Endpoints;

namespace WandbLaunch.Server.Auth;

/// <summary>What an endpoint does.</summary>
internal enum Right
{
    /// <summary>It shows something.</summary>
    Read,

    /// <summary>It changes something.</summary>
    Write,

    /// <summary>It is for admins.</summary>
    Administer,
}

/// <summary>
/// Who may use an endpoint. Each has one; one without is for admins alone. Where the address names the entity it is looked
/// at before the endpoint is; what stands in a body, or behind a number, the endpoint looks at with <see cref="Caller"/>.
/// </summary>
internal sealed record AccessRule(Right Right, Func<HttpContext, string?>? Entity)
{
    internal bool Allows(Caller caller, HttpContext context) =>
        caller.IsAdmin
        || Right switch
        {
            Right.Read => Entity is null || caller.MayRead(Entity(context)),
            Right.Write => caller.Role != Role.ReadOnly && (Entity is null || caller.MayWrite(Entity(context))),
            _ => false,
        };
}

/// <summary>Rules of endpoints, and the one place that keeps them.</summary>
internal static class AccessRules
{
    /// <summary>Says who may use this: one who may do that at all, and where the address has an entity, do it there.</summary>
    internal static IEndpointConventionBuilder For(
        this IEndpointConventionBuilder endpoint,
        Right right,
        string? entityPart = null
    ) =>
        endpoint.WithMetadata(
            new AccessRule(right, entityPart is null ? null : c => c.GetRouteValue(entityPart)?.ToString())
        );

    /// <summary>The same, where the entity is in the query of the address, or behind what is there.</summary>
    internal static IEndpointConventionBuilder For(
        this IEndpointConventionBuilder endpoint,
        Right right,
        Func<HttpContext, string?> entity
    ) => endpoint.WithMetadata(new AccessRule(right, entity));

    /// <summary>The middleware, after it is known who asks.</summary>
    internal static Task InvokeAsync(AuditLog audit, HttpContext context, RequestDelegate next)
    {
        // Without a caller there is what the policies give to everyone: the form that asks for a key.
        if (
            context.Features.Get<Caller>() is not { IsAdmin: false } caller
            || context.GetEndpoint() is not { } endpoint
        )
        {
            return next(context);
        }

        if (endpoint.Metadata.GetMetadata<AccessRule>() is { } rule && rule.Allows(caller, context))
        {
            return next(context);
        }

        AuditRules.Refused(audit, context, caller);
        return FaultAnswers.WriteAsync(context, 403, caller.Refusal);
    }

    /// <summary>Who asks.</summary>
    internal static Caller Caller(this HttpContext context) =>
        context.Features.Get<Caller>() ?? throw new RequestFault(401, "invalid API key");

    /// <summary>Refuses what is not the caller's to change.</summary>
    internal static void NeedWrite(this Caller caller, Data.QueueRecord queue)
    {
        if (!caller.MayWrite(queue))
        {
            throw new RequestFault(403, caller.Refusal);
        }
    }

    /// <inheritdoc cref="NeedWrite(Auth.Caller, Data.QueueRecord)"/>
    internal static void NeedWrite(this Caller caller, string? entity)
    {
        if (!caller.MayWrite(entity))
        {
            throw new RequestFault(403, caller.Refusal);
        }
    }
}
