using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Server.Audit;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;
using WandbLaunch.Server.Endpoints;

namespace WandbLaunch.Server.Pages;

/// <summary>What the Launch view asks for and does with items: <c>/page/items</c>.</summary>
internal sealed class ItemPages(
    PageItems views,
    PageQueues pageQueues,
    QueueRepository queues,
    ItemRepository items,
    RunRepository runs,
    FileRepository files
)
{
    private static readonly HashSet<string> States = new(StringComparer.Ordinal)
    {
        "PENDING",
        "LEASED",
        "CLAIMED",
        "FINISHED",
        "FAILED",
        "STOPPED",
    };

    internal void Map(IEndpointRouteBuilder app)
    {
        app.MapGet("/page/items", ListAsync).For(Right.Read);
        app.MapPost("/page/items", c => c.AnswerFormAsync(b => Push(b, c)))
            .For(Right.Write)
            .Audited(AuditAction.Queued);
        app.MapPost("/page/items/act", ActAsync).For(Right.Write).Audited(AuditAction.Changed);
        app.MapGet("/page/items/{id}", Parts.Of("id", ShowAsync)).For(Right.Read);
        app.MapGet("/page/source", SourceAsync).For(Right.Read);
    }

    private Task ListAsync(HttpContext context)
    {
        var request = context.Request;
        var queue = Ids.Parse(request.Need("queue"));
        var states = (request.Text("state") ?? "")
            .Split(',', StringSplitOptions.RemoveEmptyEntries)
            .Where(States.Contains)
            .ToArray();
        var (found, more) = views.Page(
            new ItemQuery(
                queue,
                request.Text("before") is { } before ? Ids.Parse(before) : long.MaxValue,
                Math.Max(1, request.Number("first", 100, 500)),
                states,
                request.Text("q")
            )
        );
        var caller = context.Caller();
        var view = pageQueues.Queues(caller).FirstOrDefault(q => q.Id == queue);
        if (view is null && !caller.IsAdmin)
        {
            throw new RequestFault(404, "There is no such queue.");
        }

        var agents = pageQueues.Agents(all: false, caller);
        return context.AnswerAsync(new { items = found.Select(i => ItemView.Line(i, view, agents)), more });
    }

    private Task ShowAsync(HttpContext context, string id)
    {
        var caller = context.Caller();
        var item = Find(Ids.Parse(id), caller) ?? throw new RequestFault(404, "There is no such item: it was deleted.");
        var view = pageQueues.Queues(caller).FirstOrDefault(q => q.Id == item.Queue);
        var agents = pageQueues.Agents(all: false, caller);
        var spec = PageRequests.Json(item.Spec);
        var source = spec is { } map ? Source(map, caller) : null;
        var summary = ItemView.Summary(item);
        var home = summary.Project is { } project
            ? runs.Find(summary.Entity ?? view?.Entity ?? caller.Name, project, item.Run ?? "")
            : null;
        return context.AnswerAsync(
            new
            {
                item = ItemView.Line(item, view, agents),
                queue = view,
                before = item.State == "PENDING" ? views.Before(item) : (long?)null,
                spec,
                history = views.History(item),
                warnings = PageRequests.Json(item.Warnings),
                error = PageRequests.Json(item.Error),
                changes = spec is { } text && source is not null ? LaunchSource.Changes(text, source) : null,
                source = source is null
                    ? null
                    : new
                    {
                        source.Entity,
                        source.Project,
                        source.Run,
                        source.DisplayName,
                    },
                run = home is null || !caller.MayRead(home.Project.Entity)
                    ? null
                    : new
                    {
                        entity = home.Project.Entity,
                        project = home.Project.Name,
                        name = home.Name,
                        displayName = home.DisplayName,
                        state = home.State,
                    },
            }
        );
    }

    private Task SourceAsync(HttpContext context)
    {
        var request = context.Request;
        var run =
            runs.Find(request.Need("entity"), request.Need("project"), request.Need("run")) is { } found
            && context.Caller().MayRead(found.Project.Entity)
                ? found
                : throw new RequestFault(404, "There is no such run.");
        return context.AnswerAsync(LaunchSource.Of(run, files));
    }

    private object Push(JsonElement body, HttpContext context)
    {
        var caller = context.Caller();
        var queue = body.Text("queue") is { Length: > 0 } name ? queues.Find(Ids.Parse(name)) : null;
        if (queue is null || !caller.MayRead(queue))
        {
            throw new FieldFault("queue", "Choose a queue. There is none yet? Create one in the Launch view.");
        }

        if (body.Given("spec") is not { ValueKind: JsonValueKind.Object } spec)
        {
            throw new FieldFault("spec", "The launch config must be a JSON object: { … }.");
        }

        CheckSpec(spec);
        if (JsonLimits.ObjectFault("The launch config", spec.GetRawText()) is { } fault)
        {
            throw new FieldFault("spec", fault);
        }

        if (!SpecAccess.IsOwn(caller, spec.GetRawText()))
        {
            throw new FieldFault("entity", "Its run would be of a team that is none of yours.");
        }

        var made = JsonNode.Parse(spec.GetRawText())!.AsObject();
        made["author"] ??= caller.Name;
        try
        {
            var (id, _) = items.Push(
                queue,
                made.ToJsonString(),
                body.Number("priority"),
                body.Given("variables") is { ValueKind: JsonValueKind.Object } variables
                && variables.EnumerateObject().Any()
                    ? variables.GetRawText()
                    : null
            );
            var detail = context.Audit();
            (detail.Entity, detail.Project) = (queue.Entity, queue.Project);
            detail.Subject = $"queue {queue.Name}, item {Ids.Text(id)}";
            return new { id };
        }
        catch (ServerFault e)
        {
            throw new FieldFault(FieldOf(e.Message), e.Message);
        }
    }

    // What an agent would refuse later is told at the field that it is in.
    private static void CheckSpec(JsonElement spec)
    {
        if (spec.Given("job") is null && spec.Given("uri") is null)
        {
            throw new FieldFault("source", "Say what to run: the address of a run or of a git repository, or a job.");
        }

        foreach (var name in new[] { "uri", "job", "entity", "project", "name", "resource" })
        {
            if (spec.Given(name) is { ValueKind: not JsonValueKind.String })
            {
                throw new FieldFault(name is "uri" or "job" ? "source" : name, $"{name} must be a text.");
            }
        }

        if (spec.Given("uri") is { } uri && uri.GetString()!.Trim() is var address && IsHere(address))
        {
            throw new FieldFault(
                "source",
                "A folder cannot be queued, for the agent may be on another machine: push it to git, and give the address of the repository."
            );
        }

        if (spec.Given("resource_args") is { ValueKind: not JsonValueKind.Object })
        {
            throw new FieldFault("resource_args", "Resource arguments are a JSON object: { \"resource\": { … } }.");
        }

        if (spec.Given("overrides") is not { } overrides)
        {
            return;
        }

        if (overrides.ValueKind != JsonValueKind.Object)
        {
            throw new FieldFault("spec", "overrides must be a JSON object.");
        }

        if (overrides.Given("args") is { } arguments && !IsTexts(arguments))
        {
            throw new FieldFault("args", "Arguments are a list of texts: [\"--lr\", \"0.1\"].");
        }

        if (overrides.Given("entry_point") is { } entry && entry.ValueKind != JsonValueKind.String && !IsTexts(entry))
        {
            throw new FieldFault("entry_point", "The entry point is a list of texts: [\"python\", \"train.py\"].");
        }

        if (overrides.Given("run_config") is { ValueKind: not JsonValueKind.Object })
        {
            throw new FieldFault("run_config", "The run config is a JSON object: { \"lr\": 0.1 }.");
        }
    }

    private static bool IsHere(string address) =>
        address.Length == 0
        || address[0] is '.' or '/' or '~' or '\\'
        || address.Length > 2 && address[1] == ':' && address[2] is '\\' or '/' && char.IsAsciiLetter(address[0]);

    private static bool IsTexts(JsonElement list) =>
        list.ValueKind == JsonValueKind.Array && list.EnumerateArray().All(a => a.ValueKind == JsonValueKind.String);

    private static string FieldOf(string message)
    {
        const string Variable = "The template variable \"";
        if (message.StartsWith(Variable, StringComparison.Ordinal))
        {
            var rest = message[Variable.Length..];
            return "variables." + rest[..Math.Max(0, rest.IndexOf('"', StringComparison.Ordinal))];
        }

        return message.Contains("template variable", StringComparison.OrdinalIgnoreCase) ? "variables"
            : message.Contains("priorit", StringComparison.Ordinal) ? "priority"
            : "spec";
    }

    /// <summary>The same for many: each is answered for itself.</summary>
    private async Task ActAsync(HttpContext context)
    {
        var body = await context.BodyAsync();
        var action = body.Text("action");
        var ids = body.IdList("ids");
        var detail = context.Audit();
        detail.Subject = $"{action} of items {string.Join(", ", ids.Take(50))}";
        detail.Action = action switch
        {
            "delete" => AuditAction.Deleted,
            "requeue" or "move" => AuditAction.Queued,
            _ => AuditAction.Changed,
        };
        var results = ids.Select(id => Act(body, action, id, context.Caller())).ToList();
        await context.AnswerAsync(new { results });
    }

    private object Act(JsonElement body, string? action, long id, Caller caller)
    {
        try
        {
            var item = Find(id, caller) ?? throw new ServerFault($"The item {Ids.Text(id)} is not there any more.");
            if (action is "requeue" or "move" && !SpecAccess.IsOwn(caller, item.Spec))
            {
                // Who could not push it does not push it again.
                throw new ServerFault(caller.Refusal);
            }

            switch (action)
            {
                case "delete":
                    views.Delete(item);
                    return new { id };
                case "requeue":
                    return new { id, made = views.Requeue(item) };
                case "priority":
                    views.SetPriority(item, body.Number("priority") ?? throw new ServerFault("Give a priority."));
                    return new { id };
                case "move":
                    var to =
                        queues.Find(Ids.Parse(body.Text("queue"))) is { } found && caller.MayWrite(found)
                            ? found
                            : throw new ServerFault("Choose a queue.");
                    return new { id, made = views.Move(item, to) };
                default:
                    throw new RequestFault(400, "action is one of delete, requeue, priority, move.");
            }
        }
        catch (ServerFault e)
        {
            return new { id, error = e.Message };
        }
    }

    private ItemRow? Find(long id, Caller caller) =>
        views.Find(id) is { } item && views.MayRead(item, caller) ? item : null;

    // The run that an item repeats, where it is one of this server.
    private LaunchSource? Source(JsonElement spec, Caller caller)
    {
        if (
            spec.ValueKind != JsonValueKind.Object
            || spec.Given("uri") is not { ValueKind: JsonValueKind.String } uri
            || RunPath(uri.GetString()!) is not var (entity, project, run)
        )
        {
            return null;
        }

        return runs.Find(entity, project, run) is { } found && caller.MayRead(found.Project.Entity)
            ? LaunchSource.Of(found, files)
            : null;
    }

    private static (string Entity, string Project, string Run)? RunPath(string uri)
    {
        var path = Uri.TryCreate(uri, UriKind.Absolute, out var address) ? address.AbsolutePath : uri;
        return path.Trim('/').Split('/') is [var entity, var project, "runs", var run]
            ? (Uri.UnescapeDataString(entity), Uri.UnescapeDataString(project), Uri.UnescapeDataString(run))
            : null;
    }
}
