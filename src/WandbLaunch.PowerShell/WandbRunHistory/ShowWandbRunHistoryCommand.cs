using System.Management.Automation;
using System.Management.Automation.Host;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Draws a metric of runs as a chart, in text or in pixels.</summary>
/// <remarks>Asks the server for what runs have logged, sampled over their whole length, and draws it in block characters as wide as the terminal. Several runs are drawn one below the other, on the same axes, so that they can be compared. The chart is plain text and can go into a file or a message; with -AsSixel it is a picture, in terminals that draw sixel graphics (Windows Terminal, iTerm2, WezTerm, foot, xterm -ti vt340, the terminal of VS Code). Without a run it is the newest of the project.</remarks>
/// <example><para>The loss of the newest run</para><code>Connect-Wandb -Local; Show-WandbRunHistory loss -Project demo</code><para>As wide as the terminal.</para></example>
/// <example><para>Compare the last three runs</para><code>Connect-Wandb -Local; Get-WandbRun -Project demo | Select-Object -First 3 | Show-WandbRunHistory loss -Width 60 -Height 4</code><para>One below the other, on the same axes.</para></example>
/// <example><para>In pixels, where the terminal has them</para><code>Connect-Wandb -Local; Show-WandbRunHistory loss -Project demo -AsSixel -Width 60</code><para>Block characters where it has none.</para></example>
/// <example><para>Into a file</para><code>Connect-Wandb -Local; Show-WandbRunHistory loss -Project demo -Width 100 > loss.txt</code><para>It has no escape sequences.</para></example>
[Cmdlet(VerbsCommon.Show, "WandbRunHistory")]
[OutputType(typeof(string))]
public sealed class ShowWandbRunHistoryCommand : PipelineCommand
{
    private const int SeveralHeight = 4;
    private const int OneHeight = 10;

    private readonly List<RunPath> _runs = [];
    private WandbConnection? _server;

    /// <summary>Name of the metric, as it was logged.</summary>
    [Parameter(Mandatory = true, Position = 0)]
    [ArgumentCompleter(typeof(MetricCompleter))]
    [ValidateNotNullOrEmpty]
    public string Metric { get; set; } = "";

    /// <summary>Ids of runs. Default: the newest of the project.</summary>
    [Parameter(Position = 1, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [Alias("RunId")]
    [ArgumentCompleter(typeof(RunIdCompleter))]
    public string[] Id { get; set; } = [];

    /// <summary>Project of the runs. Default: the connection's.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(ProjectCompleter))]
    public string? Project { get; set; }

    /// <summary>Entity of the runs. Default: the connection's.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(EntityCompleter))]
    public string? Entity { get; set; }

    /// <summary>Columns of the chart. Default: the terminal's.</summary>
    [Parameter]
    [ValidateRange(BlockChart.LeastWidth, 500)]
    public int? Width { get; set; }

    /// <summary>Lines of each curve. Default: 10 for one run, 4 for several.</summary>
    [Parameter]
    [ValidateRange(2, 100)]
    public int? Height { get; set; }

    /// <summary>Draw in pixels (sixel graphics), where the terminal has them: it is asked, and one without them gets block characters. Where there is no terminal to ask, as in a script whose output goes into a file, pixels are drawn in any case. $PSDefaultParameterValues['Show-WandbRunHistory:AsSixel'] = $true has it always.</summary>
    [Parameter]
    public SwitchParameter AsSixel { get; set; }

    /// <summary>Connection to use. Default: the session's.</summary>
    [Parameter]
    public WandbConnection? Connection { get; set; }

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds => RunKinds;

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        _server ??= await GetConnectionAsync(Connection);
        if (PipedRun(_server) is { } piped)
        {
            _runs.Add(piped);
            return;
        }

        if (Id.Length > 0)
        {
            var (entity, project) = Where(_server);
            _runs.AddRange(Id.Select(id => new RunPath(entity, project, id)));
        }
        else if (!MyInvocation.ExpectingInput)
        {
            var (entity, project) = Where(_server);
            _runs.Add(await KnownRun.NewestPathAsync((_server, entity, project), Token));
        }
    }

    /// <inheritdoc/>
    protected override async Task EndAsync()
    {
        var curves = new List<(WandbRun Run, IReadOnlyList<HistoryPoint> Points)>();
        var width = Width ?? TerminalWidth();
        foreach (var path in _runs.Distinct())
        {
            try
            {
                // Four to a column: what is drawn is their mean.
                var points = await new RunHistory(_server!.Transport).SampleAsync(
                    path,
                    Metric,
                    Math.Max(500, width * 4),
                    Token
                );
                var run = await _server.Api.RunAsync(path, _server.AppUrl, Token);
                curves.Add(points.Count > 0 ? (run, points) : throw NotLogged(run));
            }
            catch (LaunchException e)
            {
                Error(e, path.ToString());
            }
        }

        if (curves.Count == 0)
        {
            return;
        }

        var all = curves.SelectMany(c => c.Points).ToList();
        var scale = CurveScale.Of(all);
        var height = Height ?? (curves.Count == 1 ? OneHeight : SeveralHeight);
        var pixels = AsSixel ? await AskAsync(PixelsWanted) : null;
        foreach (var (run, points) in curves)
        {
            Output(Cut(Title(run, points), width));
            var lines = pixels is { } graphics
                ? new SixelChart(width, height, graphics.Cell, scale).Draw(points)
                : new BlockChart(width, height, scale).Draw(points);
            lines.ToList().ForEach(Output);
        }
    }

    // A terminal is asked. What goes into a file or through a pipe of the system is taken at its word: its reader may be another one.
    private TerminalGraphics? PixelsWanted()
    {
        var graphics = TerminalGraphics.Ask() ?? TerminalGraphics.Unasked;
        if (!graphics.Sixel)
        {
            WriteVerbose("This terminal says that it has no sixel graphics: block characters are drawn.");
            return null;
        }

        return graphics;
    }

    private string Title(WandbRun run, IReadOnlyList<HistoryPoint> points)
    {
        var best = points.MinBy(p => p.Value);
        var worst = points.MaxBy(p => p.Value);
        return $"{run.Id}{(run.Name is { } name && name != run.Id ? " " + name : "")}: {Metric} {BlockChart.Number(points[^1].Value)} at step {BlockChart.Number(points[^1].Step)}, min {BlockChart.Number(best.Value)} at {BlockChart.Number(best.Step)}, max {BlockChart.Number(worst.Value)} at {BlockChart.Number(worst.Step)}";
    }

    private static string Cut(string text, int width) => text.Length <= width ? text : text[..(width - 1)] + "…";

    private LaunchException NotLogged(WandbRun run)
    {
        var known = MetricCompleter.Metrics(run).ToList();
        return new LaunchException(
            "MetricNotFound",
            LaunchErrorCategory.ObjectNotFound,
            $"The run {run.Id} has logged no number named '{Metric}'.{(known.Count > 0 ? $" It has: {string.Join(", ", known.Take(20))}." : "")}",
            run
        );
    }

    private (string Entity, string Project) Where(WandbConnection server) =>
        (QueueCommand.NeedEntity(server, Entity), NeedProject(server, Project));

    private int TerminalWidth()
    {
        try
        {
            // The last column of some consoles wraps.
            return Math.Clamp(Host.UI.RawUI.BufferSize.Width - 1, BlockChart.LeastWidth, 500);
        }
        catch (Exception e) when (e is HostException or NotImplementedException or NullReferenceException)
        {
            return 79;
        }
    }
}
