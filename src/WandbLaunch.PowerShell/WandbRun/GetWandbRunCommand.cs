using System.Globalization;
using System.Management.Automation;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Gets runs of a W&amp;B server.</summary>
/// <remarks>By address, by id, or all of a project that match. State, tag, name and time are filtered by the server; pages of any number of runs flow into the pipeline as they arrive, newest first.</remarks>
/// <example><para>All runs of a project</para><code>Connect-Wandb -Local; Get-WandbRun -Project demo</code><para>Streams them, newest first.</para></example>
/// <example><para>The failed ones of the last day whose name begins with resnet</para><code>Get-WandbRun -Project demo -State failed, crashed -Name 'resnet*' -CreatedAfter ([DateTime]::Now.AddDays(-1))</code><para>The server does the filtering.</para></example>
/// <example><para>Runs with a small learning rate</para><code>Get-WandbRun -Project demo | Where-Object { $_.Config['lr'] -lt 0.5 }</code><para>Config and Summary are dictionaries.</para></example>
[Cmdlet(VerbsCommon.Get, "WandbRun", DefaultParameterSetName = "Project")]
[Alias("gwr")]
[OutputType("WandbLaunch.Wandb.WandbRun")]
public sealed class GetWandbRunCommand : PipelineCommand
{
    /// <summary>Address of a run: https://wandb.ai/entity/project/runs/id, or entity/project/runs/id.</summary>
    [Parameter(
        Mandatory = true,
        Position = 0,
        ParameterSetName = "Uri",
        ValueFromPipeline = true,
        ValueFromPipelineByPropertyName = true
    )]
    [Alias("Url")]
    public string[] Uri { get; set; } = [];

    /// <summary>Id of a run (8 characters as a rule).</summary>
    [Parameter(Mandatory = true, ParameterSetName = "Id", ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(RunIdCompleter))]
    [Alias("RunId")]
    public string[] Id { get; set; } = [];

    /// <summary>Project, or the address of a run. Default: the connection's.</summary>
    [Parameter(Position = 0, ParameterSetName = "Project", ValueFromPipelineByPropertyName = true)]
    [Parameter(ParameterSetName = "Id", ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(ProjectCompleter))]
    public string? Project { get; set; }

    /// <summary>Entity. Default: the connection's.</summary>
    [Parameter(ParameterSetName = "Project", ValueFromPipelineByPropertyName = true)]
    [Parameter(ParameterSetName = "Id", ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(EntityCompleter))]
    public string? Entity { get; set; }

    /// <summary>States that count.</summary>
    [Parameter(ParameterSetName = "Project")]
    public WandbRunState[] State { get; set; } = [];

    /// <summary>Tags; a run with any of them counts.</summary>
    [Parameter(ParameterSetName = "Project")]
    public string[] Tag { get; set; } = [];

    /// <summary>Display names; wildcards are allowed.</summary>
    [Parameter(ParameterSetName = "Project")]
    [SupportsWildcards]
    public string[] Name { get; set; } = [];

    /// <summary>Only runs made at this time or later.</summary>
    [Parameter(ParameterSetName = "Project")]
    public DateTime? CreatedAfter { get; set; }

    /// <summary>Only runs made before this time.</summary>
    [Parameter(ParameterSetName = "Project")]
    public DateTime? CreatedBefore { get; set; }

    /// <summary>A W&amp;B filter of your own (MongoDB form, as JSON), such as {"config.lr.value": {"$lt": 0.1}}.</summary>
    [Parameter(ParameterSetName = "Project")]
    public string? Filter { get; set; }

    /// <summary>Order: +created_at or -created_at (default), or what else the server knows.</summary>
    [Parameter(ParameterSetName = "Project")]
    [ArgumentCompleter(typeof(RunOrderCompleter))]
    public string? Order { get; set; }

    /// <summary>Runs that are asked for at once.</summary>
    [Parameter(ParameterSetName = "Project")]
    [ValidateRange(1, 1000)]
    public int PageSize { get; set; } = 200;

    /// <summary>Connection to use. Default: the session's.</summary>
    [Parameter]
    public WandbConnection? Connection { get; set; }

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds => [.. RunKinds, nameof(WandbConnection)];

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        var connection = await GetConnectionAsync(Connection);
        if (PipedRun(connection) is { } piped)
        {
            Output(await connection.Api.RunAsync(piped, connection.AppUrl, Token));
            return;
        }

        // The first word may be an address as well: no project's name has a slash.
        var isAddress = ParameterSetName == "Project" && Project?.Contains('/', StringComparison.Ordinal) == true;
        foreach (var uri in isAddress ? [Project!] : Uri)
        {
            try
            {
                var parsed = LaunchUri.Parse(uri, WorkingFolder);
                if (parsed.AsRun is not { } run)
                {
                    throw new LaunchException(
                        "RunUriInvalid",
                        LaunchErrorCategory.InvalidArgument,
                        $"'{uri}' is not the address of a W&B run. It is https://wandb.ai/<entity>/<project>/runs/<id>; open the run and copy it.",
                        uri
                    );
                }

                Output(await connection.Api.RunAsync(run, connection.AppUrl, Token));
            }
            catch (LaunchException e)
            {
                Error(e, uri);
            }
        }

        foreach (var id in Id)
        {
            try
            {
                Output(
                    await connection.Api.RunAsync(
                        new RunPath(EntityOf(connection), ProjectOf(connection), id),
                        connection.AppUrl,
                        Token
                    )
                );
            }
            catch (LaunchException e)
            {
                Error(e, id);
            }
        }

        if (ParameterSetName == "Project" && !isAddress)
        {
            var names = Name.Select(n => WildcardPattern.Get(n, WildcardOptions.IgnoreCase)).ToList();
            await foreach (
                var run in connection.Api.RunsAsync(
                    EntityOf(connection),
                    ProjectOf(connection),
                    Filters()?.ToJsonString(),
                    Order,
                    PageSize,
                    connection.AppUrl,
                    Token
                )
            )
            {
                if (names.Count == 0 || names.Exists(n => n.IsMatch(run.Name ?? run.Id)))
                {
                    Output(run);
                }
            }
        }
    }

    private string EntityOf(WandbConnection connection) =>
        Entity
        ?? connection.Entity
        ?? throw new LaunchException(
            "EntityMissing",
            LaunchErrorCategory.InvalidArgument,
            "Give -Entity, or set one with Connect-Wandb -Entity.",
            null
        );

    private string ProjectOf(WandbConnection connection) => NeedProject(connection, Project);

    private JsonObject? Filters()
    {
        var all = new JsonArray();
        AddIn("state", [.. State.Select(s => s.ToString().ToLowerInvariant())]);
        AddIn("tags", Tag);
        if (Name.Length > 0)
        {
            all.Add(
                new JsonObject
                {
                    ["$or"] = new JsonArray([
                        .. Name.Select(n =>
                            (JsonNode)new JsonObject { ["display_name"] = new JsonObject { ["$regex"] = Regex(n) } }
                        ),
                    ]),
                }
            );
        }

        if (CreatedAfter is { } after)
        {
            all.Add(new JsonObject { ["created_at"] = new JsonObject { ["$gte"] = Time(after) } });
        }

        if (CreatedBefore is { } before)
        {
            all.Add(new JsonObject { ["created_at"] = new JsonObject { ["$lt"] = Time(before) } });
        }

        if (Filter is not null)
        {
            try
            {
                all.Add(JsonNode.Parse(Filter));
            }
            catch (System.Text.Json.JsonException e)
            {
                throw new LaunchException(
                    "FilterInvalid",
                    LaunchErrorCategory.InvalidArgument,
                    $"-Filter is not JSON: {e.Message} Write it as '{{\"state\": \"finished\"}}'.",
                    Filter,
                    e
                );
            }
        }

        return all.Count == 0 ? null : new JsonObject { ["$and"] = all };

        void AddIn(string field, string[] values)
        {
            if (values.Length > 0)
            {
                all.Add(
                    new JsonObject
                    {
                        [field] = new JsonObject
                        {
                            ["$in"] = new JsonArray([.. values.Select(v => (JsonNode)JsonValue.Create(v))]),
                        },
                    }
                );
            }
        }
    }

    private static string Time(DateTime time) =>
        time.ToUniversalTime().ToString("yyyy-MM-dd'T'HH:mm:ss.fff", CultureInfo.InvariantCulture);

    // The wildcard as the server's regular expression, a little wider where they differ; the exact test follows here.
    private static string Regex(string wildcard)
    {
        var text = System
            .Text.RegularExpressions.Regex.Escape(wildcard)
            .Replace("\\*", ".*", StringComparison.Ordinal)
            .Replace("\\?", ".", StringComparison.Ordinal);
        return wildcard.Contains('[', StringComparison.Ordinal) || wildcard.Contains('`', StringComparison.Ordinal)
            ? ".*"
            : "(?i)^" + text + "$";
    }
}
