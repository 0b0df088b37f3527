using GraphQL.Types;
using WandbLaunch.Server.Alerts;
using WandbLaunch.Server.Audit;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;
using WandbLaunch.Server.Endpoints;
using WandbLaunch.Server.Logging;
using WandbLaunch.Server.Pages;
using WandbLaunch.Server.Schema;
using WandbLaunch.Server.Sweeps;

namespace WandbLaunch.Server;

/// <summary>What the server is composed of, by feature: as a program, and in the process of a test.</summary>
internal static class LaunchServerComposition
{
    internal static void AddLaunchServer(this WebApplicationBuilder builder, LaunchServerOptions options)
    {
        builder.Services.AddRoutingCore();
        builder.Services.AddSingleton(options.Time);
        builder.Services.AddSingleton(options);
        builder
            .Services.AddLaunchStore(options)
            .AddLaunchLog()
            .AddLaunchAuthentication(options)
            .AddLaunchGraphQL(options.Generation2022)
            .AddSingleton<FaultAnswers>()
            .AddSingleton<FileEndpoints>()
            .AddSingleton<FileStreamEndpoint>()
            .AddSingleton<QueueEndpoints>()
            .AddSingleton<SessionEndpoints>()
            .AddSingleton<UserEndpoints>()
            .AddSingleton<AuditEndpoint>()
            .AddPage();
    }

    internal static void MapLaunchServer(this WebApplication app)
    {
        // The database first: what cannot be served is said before anything else begins.
        app.Services.GetRequiredService<Database>();
        app.Services.GetRequiredService<BlobMover>().Start();
        app.Services.GetRequiredService<RunMonitor>().Start();
        app.Use(app.Services.GetRequiredService<FaultAnswers>().InvokeAsync);
        app.UseLaunchAuthentication();
        app.MapGraphQL();
        app.MapFiles();
        app.MapQueues();
        app.MapSessions();
        app.MapUsers();
        app.Services.GetRequiredService<AuditEndpoint>().Map(app);
        app.MapShutdown();
        app.MapPageData();
        app.MapPage();
    }

    private static IServiceCollection AddLaunchStore(this IServiceCollection services, LaunchServerOptions options) =>
        services
            .AddSingleton(_ => new Database(options.Path, options.Lease, options.Time, options.Say))
            .AddSingleton(_ => new FileStore(Path.GetFullPath(options.Path) + ".files"))
            .AddSingleton<ContentRows>()
            .AddSingleton<BlobMover>()
            .AddSingleton<QueueSignals>()
            .AddSingleton<ProjectRepository>()
            .AddSingleton<RunRepository>()
            .AddSingleton<RunLineRepository>()
            .AddSingleton<FileRepository>()
            .AddSingleton<BlobRepository>()
            .AddSingleton<ArtifactRepository>()
            .AddSingleton<CollectionRepository>()
            .AddSingleton<SweepRepository>()
            .AddSingleton<SweepDirector>()
            .AddSingleton<AlertRepository>()
            .AddSingleton<AlertWebhook>()
            .AddSingleton<ItemEnds>()
            .AddSingleton<RunEnds>()
            .AddSingleton<RunMonitor>()
            .AddSingleton<QueueRepository>()
            .AddSingleton<ItemRepository>()
            .AddSingleton<AgentRepository>()
            .AddSingleton<AuditRepository>()
            .AddSingleton<AuditLog>();

    // Beside the database, whose real place is known once it is open.
    private static IServiceCollection AddLaunchLog(this IServiceCollection services) =>
        services.AddSingleton<ILoggerProvider>(s => new FileLoggerProvider(() =>
            s.GetRequiredService<Database>().Path + ".errors.log"
        ));

    private static IServiceCollection AddLaunchGraphQL(this IServiceCollection services, bool generation2022) =>
        services
            .AddSingleton<ISchemaPart, ServerFields>()
            .AddSingleton<ISchemaPart, ProjectFields>()
            .AddSingleton<ISchemaPart, RunFields>()
            .AddSingleton<ISchemaPart, RunLineFields>()
            .AddSingleton<ISchemaPart, RunFileFields>()
            .AddSingleton<ISchemaPart, AlertFields>()
            .AddSingleton<ISchemaPart, PeopleFields>()
            .AddSingleton<ISchemaPart, SweepFields>()
            .AddSingleton<ISchemaPart, CollectionFields>()
            .AddSingleton<ISchemaPart, CollectionChanges>()
            .AddSingleton<ISchemaPart, QueueFields>()
            .AddSingleton<ISchemaPart, ItemFields>()
            .AddSingleton<ISchemaPart, AgentFields>()
            .AddSingleton<ISchemaPart, ArtifactFields>()
            .AddSingleton(s =>
            {
                var parts = s.GetServices<ISchemaPart>().ToList();
                var access = s.GetRequiredService<MutationAccess>();
                var audit = s.GetRequiredService<AuditLog>();
                return new Lazy<ISchema>(() => SchemaFields.Build(parts, access, audit, generation2022));
            })
            .AddSingleton<MutationAccess>()
            .AddSingleton<GraphQLEndpoint>();

    private static void MapGraphQL(this WebApplication app)
    {
        // Made beside the rest of the start; the first request waits for it where it must.
        var schema = app.Services.GetRequiredService<Lazy<ISchema>>();
        _ = Task.Run(() => schema.Value);
        app.MapPost("/graphql", app.Services.GetRequiredService<GraphQLEndpoint>().InvokeAsync)
            .For(Right.Read)
            .Unaudited();
    }

    private static void MapFiles(this WebApplication app)
    {
        app.Services.GetRequiredService<FileStreamEndpoint>().Map(app);
        app.Services.GetRequiredService<FileEndpoints>().Map(app);
    }

    private static void MapQueues(this WebApplication app) =>
        app.Services.GetRequiredService<QueueEndpoints>().Map(app);

    private static void MapSessions(this WebApplication app) =>
        app.Services.GetRequiredService<SessionEndpoints>().Map(app);

    private static void MapUsers(this WebApplication app) => app.Services.GetRequiredService<UserEndpoints>().Map(app);

    private static void MapShutdown(this WebApplication app) =>
        app.MapPost(
                "/shutdown",
                _ =>
                {
                    app.Lifetime.StopApplication();
                    return Task.CompletedTask;
                }
            )
            .For(Right.Administer)
            .Audited(AuditAction.Changed);

    private static void MapPage(this WebApplication app) => PageEndpoints.Map(app);
}
