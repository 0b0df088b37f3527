using System.Text.Json;
using WandbLaunch.Server.Audit;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;
using WandbLaunch.Server.Endpoints;

namespace WandbLaunch.Server.Pages;

/// <summary>What the Launch view asks for and does with queues: <c>/page/queues</c>.</summary>
internal sealed class QueuePages(PageQueues views, QueueRepository queues)
{
    internal void Map(IEndpointRouteBuilder app)
    {
        app.MapGet("/page/queues", c => c.AnswerAsync(new { queues = views.Queues(c.Caller()) })).For(Right.Read);
        app.MapPost("/page/queues", c => c.AnswerFormAsync(b => Create(b, c)))
            .For(Right.Write)
            .Audited(AuditAction.Created);
        app.MapGet("/page/queues/{id}", Parts.Of("id", (c, id) => c.AnswerAsync(Shown(Find(id, c.Caller())))))
            .For(Right.Read);
        app.MapPost(
                "/page/queues/{id}",
                Parts.Of("id", (c, id) => c.AnswerFormAsync(b => Change(Find(id, c.Caller()), b, c)))
            )
            .For(Right.Write)
            .Audited(AuditAction.Changed);
        app.MapDelete("/page/queues/{id}", Parts.Of("id", DeleteAsync)).For(Right.Write).Audited(AuditAction.Deleted);
    }

    private QueueRecord Find(string id, Caller caller) =>
        queues.Find(Ids.Parse(id)) is { } queue && caller.MayRead(queue)
            ? queue
            : throw new RequestFault(404, "There is no such queue.");

    private static void Note(HttpContext context, QueueRecord queue, string what)
    {
        var detail = context.Audit();
        (detail.Entity, detail.Project, detail.Subject) = (queue.Entity, queue.Project, $"queue {queue.Name}{what}");
    }

    private static object Shown(QueueRecord queue) =>
        new
        {
            id = queue.Id,
            entity = queue.Entity,
            project = queue.Project,
            name = queue.Name,
            mode = queue.Mode,
            paused = queue.Paused,
            resource = queue.Resource,
            config = PageRequests.Json(queue.ResourceConfig),
            variables = PageRequests.Json(queue.TemplateVariables),
            links = PageRequests.Json(queue.ExternalLinks),
        };

    private object Create(JsonElement body, HttpContext context)
    {
        var caller = context.Caller();
        var name = body.Need("name");
        var entity = body.Text("entity") ?? caller.Name;
        caller.NeedWrite(entity);
        var settings = Settings(body);
        if (settings.Resource is null && (settings.Config ?? settings.Variables) is not null)
        {
            throw new FieldFault("resource", "Choose the resource that the configuration is for.");
        }

        long? config = settings.Resource is null
            ? null
            : Check(() =>
                queues.CreateResourceConfig(entity, settings.Resource, settings.Config ?? "{}", settings.Variables)
            );
        var made = Check(() =>
            queues.Create(
                entity,
                body.Text("project") ?? "model-registry",
                name,
                body.Text("access") == "USER" ? "USER" : "PROJECT",
                settings.Mode,
                config,
                caller.Name
            )
        );
        Note(context, made, "");
        return new { id = made.Id };
    }

    private object Change(QueueRecord queue, JsonElement body, HttpContext context)
    {
        var what =
            body.Flag("paused") is not { } pause ? " configured"
            : pause ? " paused"
            : " resumed";
        Note(context, queue, what);
        if (body.Flag("paused") is { } paused)
        {
            queues.Pause(queue.Id, paused);
        }

        if (body.Given("resource") is not null || body.Given("mode") is not null)
        {
            Configure(queue, Settings(body));
        }

        return Shown(Find(Ids.Text(queue.Id), context.Caller()));
    }

    private Task DeleteAsync(HttpContext context, string id)
    {
        var queue = Find(id, context.Caller());
        Note(context, queue, "");
        queues.Delete(queue.Id);
        return context.AnswerAsync(new { deleted = true });
    }

    private void Configure(QueueRecord queue, QueueSettings settings)
    {
        var resource = settings.Resource ?? queue.Resource ?? throw new FieldFault("resource", "Choose a resource.");
        Check(() =>
        {
            queues.Configure(
                queue.Id,
                resource,
                settings.Config ?? queue.ResourceConfig ?? "{}",
                settings.Variables,
                settings.Mode,
                settings.Links
            );
            return true;
        });
    }

    // The field of the form that a refusal is about.
    private static T Check<T>(Func<T> act)
    {
        try
        {
            return act();
        }
        catch (ServerFault e)
        {
            var about = e.Message;
            throw new FieldFault(
                about.StartsWith("templateVariables", StringComparison.Ordinal) ? "variables"
                    : about.StartsWith("externalLinks", StringComparison.Ordinal) ? "links"
                    : about.StartsWith("config", StringComparison.Ordinal)
                    || about.StartsWith("resourceConfig", StringComparison.Ordinal)
                        ? "config"
                    : about.Contains("of an entity", StringComparison.Ordinal) ? "entity"
                    : about.Contains("of a project", StringComparison.Ordinal) ? "project"
                    : "name",
                about
            );
        }
    }

    private static QueueSettings Settings(JsonElement body)
    {
        string? Object(string name) =>
            body.Given(name) is { } value
                ? value.ValueKind == JsonValueKind.Object
                    ? value.GetRawText()
                    : throw new FieldFault(name, "This must be a JSON object: { … }.")
                : null;
        return new QueueSettings(
            body.Text("resource") is { Length: > 0 } resource ? resource : null,
            Object("config"),
            Object("variables"),
            body.Text("mode") switch
            {
                null => null,
                "V0" => "V0",
                "DISABLED" => "DISABLED",
                _ => throw new FieldFault("mode", "Priorities are V0 (on) or DISABLED (off)."),
            },
            Object("links")
        );
    }

    private sealed record QueueSettings(
        string? Resource,
        string? Config,
        string? Variables,
        string? Mode,
        string? Links
    );
}
